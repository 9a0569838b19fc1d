"""Artifacts in the session's store and the specs that serve them, for the tests of deployers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model_approval.domain.deployment import DeploymentSpec, deployment_name
from model_approval.domain.digests import sha256_of
from model_approval.ports import ArtifactStore
from tests.support.builders import a_serving_config


@dataclass(frozen=True)
class Shelf:
    """One model's versions in a store."""

    model: str
    put: Callable[[str, Mapping[str, bytes]], str]
    """Store files under a name; returns their URI. Again under the same name: change them."""
    artifacts: ArtifactStore

    @property
    def name(self) -> str:
        """The deployment's."""
        return deployment_name(self.model, "production")

    def spec(self, version: str = "1", **changes: object) -> DeploymentSpec:
        """A version that adds its number to the input, approved as it lies there."""
        uri = self.put(f"{self.model}/{version}", {"model.onnx": an_adding_model(float(version))})
        manifest = self.artifacts.manifest(uri)
        fields = {
            "name": self.name,
            "model": self.model,
            "version": version,
            "environment": "production",
            "request_id": f"pr-{self.model}-{version}",
            "artifact_digest": manifest.artifact_digest,
            "artifact_uri": uri,
            "manifest": manifest,
            "policy_digest": sha256_of(b"policy"),
            "decision_digest": sha256_of(b"decision"),
            "serving": a_serving_config(),
            "readiness_timeout_s": 90,
        }
        return DeploymentSpec.model_validate({**fields, **changes})

    def swap_bytes(self, version: str = "1") -> None:
        """Somebody changes the bytes after they were approved."""
        self.put(f"{self.model}/{version}", {"model.onnx": an_adding_model(666.0)})


def an_adding_model(constant: float) -> bytes:
    """`y = x + constant`, both float [n, 1]: an answer tells which version gave it."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "c"], ["y"])],
        "add",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("c", TensorProto.FLOAT, [1], [constant])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
