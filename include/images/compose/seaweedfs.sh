#!/bin/sh
# Start the object store: S3 with Object Lock for everybody on its networks, all of its other ports for itself alone.
#
# The lock holds for whoever comes through S3. Master, volume and filer server would let anybody delete a locked version, and
# the S3 gateway's own gRPC port (always its port + 10000, on the same addresses) takes new administrators from anybody who
# reaches it. So all of SeaweedFS listens on loopback, and `socat` lets in what comes for S3.
set -eu

umask 077
cat >/run/identities.json <<JSON
{"identities": [
  {"name": "admin", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
   "credentials": [{"accessKey": "$STORE_ADMIN_ACCESS_KEY", "secretKey": "$STORE_ADMIN_SECRET_KEY"}]},
  {"name": "writer", "actions": ["Read", "List", "Write:model-evidence", "Write:model-audit", "GetObjectRetention",
     "PutObjectRetention:model-evidence", "PutObjectRetention:model-audit", "GetBucketObjectLockConfiguration"],
   "credentials": [{"accessKey": "$STORE_WRITER_ACCESS_KEY", "secretKey": "$STORE_WRITER_SECRET_KEY"}]},
  {"name": "reader", "actions": ["Read:models", "List:models"],
   "credentials": [{"accessKey": "$STORE_READER_ACCESS_KEY", "secretKey": "$STORE_READER_SECRET_KEY"}]},
  {"name": "publisher", "actions": ["Read:models", "List:models", "Write:models"],
   "credentials": [{"accessKey": "$STORE_PUBLISHER_ACCESS_KEY", "secretKey": "$STORE_PUBLISHER_SECRET_KEY"}]}
]}
JSON
unset STORE_ADMIN_SECRET_KEY STORE_WRITER_SECRET_KEY STORE_READER_SECRET_KEY STORE_PUBLISHER_SECRET_KEY

weed mini -dir=/data -ip=127.0.0.1 -ip.bind=127.0.0.1 -disableHttp -master.telemetry=false -webdav=false -admin.ui=false \
  -s3.port=8334 -s3.config=/run/identities.json -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 \
  -s3.autoCreateBucket=false -s3.allowDeleteBucketNotEmpty=false &
store=$!
socat TCP-LISTEN:8333,fork,reuseaddr,keepalive TCP:127.0.0.1:8334 &
gate=$!

# The end of either ends the container, and Docker starts it anew.
trap 'kill "$gate" "$store" 2>/dev/null || true' TERM INT
while kill -0 "$store" 2>/dev/null && kill -0 "$gate" 2>/dev/null; do
  sleep 1 &
  wait $! || true
done
kill "$gate" "$store" 2>/dev/null || true
wait "$store"
