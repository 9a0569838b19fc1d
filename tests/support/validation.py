"""Running validators in tests: inputs, the validators' interpreter, and an object store of one write."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from model_approval.adapters.local_validators import LocalValidatorRunner
from model_approval.domain.evidence import Evidence, FileCoverage, Finding, Severity, ValidatorInput
from model_approval.domain.manifest import ArtifactManifest, manifest_of_folder
from tests.support.builders import a_manifest, a_request
from tests.support.models import write_folder

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / ".venv-validators/bin/python"
RUNNER = LocalValidatorRunner(PYTHON)


def a_validator_input(manifest: ArtifactManifest | None = None, **changes: object) -> ValidatorInput:
    """What a validator is told about `a_request()`."""
    manifest = manifest or a_manifest()
    fields: dict[str, object] = {
        "request_id": a_request().id,
        "check": "security_scan",
        "artifact_digest": manifest.artifact_digest,
        "manifest": manifest,
        "image_digest": "sha256:" + "1" * 64,
    }
    return ValidatorInput.model_validate({**fields, **changes})


def evidence_about(
    files: Mapping[str, bytes],
    folder: Path,
    *,
    validator: str = "security_scan",
    champion: Mapping[str, bytes] | None = None,
    **changes: object,
) -> Evidence:
    """Run a validator over files, written to a folder first."""
    artifact = write_folder(folder / "candidate", files)
    other = write_folder(folder / "champion", champion) if champion else None
    if other:
        changes["champion_manifest"] = manifest_of_folder(other)
    given = a_validator_input(manifest_of_folder(artifact), check=validator, **changes)
    return RUNNER.run_on_folder(given, validator, artifact, champion=other, timeout_s=120)


def findings_in(evidence: Evidence, path: str) -> list[Finding]:
    """What was found in a file."""
    return [finding for finding in evidence.findings if finding.file == path]


def grave_rules(evidence: Evidence, path: str) -> set[str]:
    """Rules that stop a file: those of at least high severity."""
    return {finding.rule for finding in findings_in(evidence, path) if finding.severity.rank >= Severity.HIGH.rank}


def coverage_of(evidence: Evidence, path: str) -> FileCoverage:
    """Whether a file was read, told exactly once."""
    (coverage,) = (item for item in evidence.coverage if item.path == path)
    return coverage


@dataclass
class OneWriteStore:
    """Objects over HTTP as presigned URLs show them: GET what is there, PUT once with `If-None-Match: *`.

    Attributes:
        objects: What can be fetched, by path without the leading slash.
        written: What was put, by path.
        failures: How many of the next requests are answered with 500.
        cut: How many of the next downloads break off in the middle.
        redirect_to: Answers every GET with a redirect there.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    written: dict[str, bytes] = field(default_factory=dict)
    failures: int = 0
    cut: int = 0
    redirect_to: str | None = None
    requests: list[str] = field(default_factory=list)

    def urls(self, prefix: str, manifest: ArtifactManifest) -> dict[str, str]:
        """Download URLs of a manifest's files."""
        return {entry.path: f"{self.url}/{prefix}/{entry.path}?signature=secret" for entry in manifest.files}


class _Server(ThreadingHTTPServer):
    def __init__(self, store: OneWriteStore) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        path = self._path()
        if self.server.store.redirect_to:
            self._answer(302, headers={"Location": self.server.store.redirect_to})
        elif self._fails():
            self._answer(500)
        elif path not in self.server.store.objects:
            self._answer(404)
        elif self.server.store.cut:
            self.server.store.cut -= 1
            data = self.server.store.objects[path]
            self._answer(200, data[: len(data) // 2], headers={"Content-Length": str(len(data))})
        else:
            self._answer(200, self.server.store.objects[path])

    def do_PUT(self) -> None:
        path, data = self._path(), self.rfile.read(int(self.headers["Content-Length"]))
        if self._fails():
            self._answer(500)
        elif self.headers.get("If-None-Match") != "*":
            self._answer(403)
        elif path in self.server.store.written:
            self._answer(412)
        else:
            self.server.store.written[path] = data
            self._answer(200)

    def _path(self) -> str:
        self.server.store.requests.append(f"{self.command} {self.path}")
        return self.path.lstrip("/").partition("?")[0]

    def _fails(self) -> bool:
        self.server.store.failures -= 1
        return self.server.store.failures >= 0

    def _answer(self, status: int, data: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # its name in the base class
        """Silent."""


@contextmanager
def one_write_store() -> Iterator[OneWriteStore]:
    """A running store on a loopback port."""
    store = OneWriteStore()

    with _Server(store) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        store.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()
