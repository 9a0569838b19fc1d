"""The job `cluster-init`: prepares the target cluster, and gives Airflow an account there that can do its work alone.

Does what include/targets/kubernetes/README.md asks of an administrator: namespaces, rights, network policies with the
store's address, quotas, the reader's credentials; then writes a kubeconfig for the account `model-approval`. Safe to
repeat.
"""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config
from kubernetes.dynamic import DynamicClient

Json = dict[str, Any]

MANIFESTS = Path(__file__).resolve().parents[2] / "targets" / "kubernetes"
PLACEHOLDER = "192.0.2.0/24"
"""What stands in the manifests for the store's address."""
ACCOUNT, NAMESPACE, SERVING_NAMESPACE = "model-approval", "model-validation", "model-serving"
TOKEN_DEADLINE_S = 60.0


def manifests(store_cidr: str) -> list[Json]:
    """Every object of the folder in the order of its files, with the store's address in place."""
    texts = [path.read_text().replace(PLACEHOLDER, store_cidr) for path in sorted(MANIFESTS.glob("*.yaml"))]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def secret(name: str, namespace: str, **fields: object) -> Json:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, **fields}


def reader_secret() -> Json:
    """With what serving pods fetch approved bytes: credentials that read models and nothing else."""
    fields = {name: os.environ[f"STORE_READER_{name.upper()}"] for name in ("access_key", "secret_key")}
    return secret("model-store-reader", SERVING_NAMESPACE, stringData={**fields, "region": "us-east-1"})


def token_secret() -> Json:
    """Asks the cluster for a token of our account that does not expire."""
    asked = secret(f"{ACCOUNT}-token", NAMESPACE, type="kubernetes.io/service-account-token")
    asked["metadata"]["annotations"] = {"kubernetes.io/service-account.name": ACCOUNT}
    return asked


def apply(cluster: DynamicClient, body: Json) -> None:
    """Server-side apply."""
    kind = cluster.resources.get(api_version=body["apiVersion"], kind=body["kind"])
    place = {"namespace": body["metadata"]["namespace"]} if "namespace" in body["metadata"] else {}
    kind.server_side_apply(
        body=body, name=body["metadata"]["name"], field_manager="cluster-init", force_conflicts=True, **place
    )
    print(f"{body['kind']} {body['metadata']['name']}: applied")


def account_token(cluster: DynamicClient) -> Json:
    """The token and the cluster's certificate, once the cluster has filled them in."""
    secrets = cluster.resources.get(api_version="v1", kind="Secret")
    deadline = time.monotonic() + TOKEN_DEADLINE_S
    while True:
        data = secrets.get(name=f"{ACCOUNT}-token", namespace=NAMESPACE).to_dict().get("data") or {}
        if "token" in data:
            return {"token": base64.b64decode(data["token"]).decode(), "ca": data["ca.crt"]}
        if time.monotonic() > deadline:
            raise SystemExit(f"the cluster gave {ACCOUNT} no token within {TOKEN_DEADLINE_S:.0f} s")
        time.sleep(0.5)


def kubeconfig(server: str, account: Json) -> Json:
    """A kubeconfig with one context, named like the Airflow connection."""
    context = {"cluster": "target", "user": ACCOUNT, "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "target", "cluster": {"server": server, "certificate-authority-data": account["ca"]}}],
        "users": [{"name": ACCOUNT, "user": {"token": account["token"]}}],
        "contexts": [{"name": "kubernetes_default", "context": context}],
        "current-context": "kubernetes_default",
    }


def main() -> None:
    """Apply everything, write the kubeconfig for Airflow's eyes alone."""
    server = os.environ["CLUSTER_SERVER"]
    loader = config.new_client_from_config(config_file=os.environ["ADMIN_KUBECONFIG"])
    loader.configuration.host = server
    cluster = DynamicClient(loader)
    for body in [*manifests(os.environ["STORE_CIDR"]), reader_secret(), token_secret()]:
        apply(cluster, body)
    target = Path(os.environ["ACCOUNT_KUBECONFIG"])
    partial = target.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(kubeconfig(server, account_token(cluster)), stream)
    partial.replace(target)
    print(f"{target}: written for {ACCOUNT} at {server}")


if __name__ == "__main__":
    main()
