"""One module per outside system, the sole importer of its SDK. Siblings do not know each other, but for `s3_client`."""
