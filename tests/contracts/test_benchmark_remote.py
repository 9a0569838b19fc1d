"""A server behind a URL measured by the real, confined validator: our own model server, and one that streams text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device, Evidence
from model_approval.domain.manifest import manifest_of_folder
from tests.support.model_servers import unix_server
from tests.support.models import an_onnx_model, write_folder
from tests.support.streaming_server import Speaker, speaking
from tests.support.validation import evidence_about

pytestmark = pytest.mark.contract

_QUICK = {
    "min_queries": 20, "duration_s": 0.2, "max_duration_s": 1.0, "warm_up_s": 0.2, "scenarios": ["single_stream"],
}  # fmt: skip
_MODEL = {"model.onnx": an_onnx_model()}


def _evidence(
    folder: Path, endpoint: Mapping[str, object], more: Mapping[str, object] | None = None, **changes: Any
) -> Evidence:
    parameters = {**_QUICK, "endpoint": endpoint, **(more or {})}
    files = changes.pop("files", _MODEL)
    changes = {"allow_cpu": True, **changes}
    return evidence_about(files, folder, validator="gpu_benchmark", parameters=parameters, **changes)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Our own server of the model, on a port: it knows the digest of what it serves."""
    folder = tmp_path_factory.mktemp("served")
    artifact = write_folder(folder / "artifact", _MODEL)
    expected = manifest_of_folder(artifact).artifact_digest
    port_file = folder / "port"
    with unix_server(folder, artifact, "--port", "0", "--port-file", str(port_file), "--expect-digest", expected):
        yield f"http://127.0.0.1:{port_file.read_text()}"


def test_a_server_that_serves_this_artifact_is_measured_like_our_own(tmp_path: Path, url: str) -> None:
    evidence = _evidence(tmp_path, {"url": url}, {"concurrency": 2})
    names = {metric.name for metric in evidence.metrics}
    assert {"latency_p50", "throughput", "concurrent_throughput"} <= names
    assert not {"peak_memory", "load_time"} & names
    assert evidence.device is Device.CPU
    assert not [one for one in evidence.limitations if "serve" in one]
    environment = evidence.environment
    assert environment["endpoint"] == f"{url}, model model, protocol v2"
    assert environment["device"] == "cpu (as the server says of itself)"
    assert environment["relay.confinement.ports"] == f"in force: TCP port {url.rpartition(':')[2]} alone"
    assert environment["confinement.seccomp"].startswith("in force: Unix sockets only")
    assert "robustness" not in environment


def test_a_server_that_serves_something_else_proves_nothing(tmp_path: Path, url: str) -> None:
    other = {"model.onnx": an_onnx_model(seed=8)}
    limitations = "\n".join(_evidence(tmp_path, {"url": url, "device": "cuda"}, files=other).limitations)
    assert f"the server at {url} says that it serves sha256:" in limitations


def test_hostile_requests_go_to_a_url_only_where_the_policy_says_so(tmp_path: Path, url: str) -> None:
    evidence = _evidence(tmp_path, {"url": url}, {"robustness": True})
    assert evidence.findings == ()
    assert evidence.environment["robustness"].startswith("34 hostile requests, 34 answered")


def test_a_cpu_behind_a_url_counts_only_where_the_policy_allows_one(tmp_path: Path, url: str) -> None:
    evidence = _evidence(tmp_path, {"url": url}, allow_cpu=False)
    assert evidence.metrics == ()
    assert "does not allow a measurement on the CPU" in "\n".join(evidence.limitations)


def test_a_language_model_behind_a_url_is_timed_token_by_token(tmp_path: Path) -> None:
    speaker = Speaker(first_s=0.01)
    wanted = {"requests": 12, "output_tokens": 4, "prompt_words": 8, "api": "chat", "concurrency": 2}
    with speaking(None, speaker) as where:
        endpoint = {"url": where, "protocol": "openai", "model": "org/small-7b", "device": "cuda"}
        evidence = _evidence(tmp_path, endpoint, {"llm": wanted})
    metric = evidence.metric("time_to_first_token_p50")
    assert metric is not None
    assert metric.value >= 10
    assert evidence.metric("output_token_throughput") is not None
    assert evidence.device is Device.CUDA
    assert evidence.environment["device"] == "cuda (as the policy says)"
    assert {document["model"] for _, document in speaker.asked} == {"org/small-7b"}
    (limitation,) = evidence.limitations
    assert "nothing proves that it is sha256:" in limitation


def test_a_language_model_of_the_open_inference_protocol_is_timed_alike(tmp_path: Path) -> None:
    speaker = Speaker()
    wanted = {"requests": 10, "output_tokens": 3, "api": "generate_stream"}
    with speaking(None, speaker) as where:
        evidence = _evidence(tmp_path, {"url": where, "model": "llm", "device": "cuda"}, {"llm": wanted})
    assert evidence.metric("time_per_output_token_p50") is not None
    assert {path for path, _ in speaker.asked} == {"/v2/models/llm/generate_stream"}


def test_nobody_knowing_the_device_is_a_limitation(tmp_path: Path) -> None:
    with speaking(None, Speaker()) as where:
        endpoint = {"url": where, "protocol": "openai"}
        evidence = _evidence(tmp_path, endpoint, {"llm": {"requests": 10, "output_tokens": 2}})
    assert evidence.device is Device.NONE
    assert "nobody says what the server runs on" in "\n".join(evidence.limitations)


@pytest.mark.parametrize(
    ("endpoint", "more", "words"),
    [
        ({"url": "http://127.0.0.1:1"}, {}, r"127\.0\.0\.1 cannot be reached"),
        ({"url": "http://user:pw@host"}, {}, r"endpoint\.url: .*must hold no credentials"),
        ({"url": "http://host", "protocol": "openai"}, {}, "only `llm` can be measured"),
        ({"url": "http://host"}, {"soak": {}}, "cannot be seen"),
        ({"url": "http://host"}, {"cold_start": {}}, "cannot be started anew"),
    ],
)
def test_what_cannot_be_measured_at_a_url_is_told_in_words(
    tmp_path: Path, endpoint: dict[str, object], more: dict[str, object], words: str
) -> None:
    with pytest.raises(EvidenceError, match=words):
        _evidence(tmp_path, endpoint, more)
