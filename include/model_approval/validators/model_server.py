"""Serves one verified model over HTTP.

    python -m model_approval.validators.model_server --artifact DIR --manifest FILE --serving FILE --port 8080

    GET  /healthz      200 once the model is loaded, with the artifact's digest
    POST /v1/predict   {"inputs": {name: nested lists}} -> {"outputs": {name: nested lists}}

It hashes the folder before it loads anything and ends if the bytes are not the expected ones. The promised headers are
on every answer. The process listens first and then locks itself in: what it serves can open no connection, start no
program and read no file but the model's.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from pathlib import Path

from model_approval.domain.deployment import ServingConfig
from model_approval.domain.errors import IntegrityError, ModelApprovalError
from model_approval.domain.manifest import ArtifactManifest, manifest_of_folder, require_same_bytes
from model_approval.validators.confinement import Reach, confine
from model_approval.validators.contract import Bounds, plain_line, read_record

log = logging.getLogger(__name__)

_FILE_BYTES = 1024**2
_OPEN_FILES = 4096


def verify_folder(folder: Path, expected_digest: str | None, manifest: ArtifactManifest | None) -> str:
    """Hash every byte of the folder and compare it with what is expected; returns the digest.

    Raises:
        IntegrityError: Nothing was said to be expected, or the folder is not it; with the manifest at hand, names each
            file that differs.
    """
    if expected_digest is None and manifest is None:
        raise IntegrityError("what is to be served must be named", hint="give --manifest or --expect-digest")
    found = manifest_of_folder(folder)
    if manifest is not None:
        require_same_bytes(manifest, found, where=str(folder))
    if expected_digest not in (None, found.artifact_digest):
        raise IntegrityError(f"{folder} holds {found.artifact_digest}, expected is {expected_digest}")
    return found.artifact_digest


def _read_token(path: Path | None, serving: ServingConfig) -> str | None:
    if serving.authentication == "none":
        return None
    token = path.read_text(encoding="ascii").strip() if path else ""
    if len(token) < 16:
        raise IntegrityError(
            "authentication is `bearer`, but there is no token of at least 16 characters (--token-file)"
        )
    return token


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), backlog=128)
    listener.set_inheritable(False)
    return listener


def _serve(given: argparse.Namespace) -> None:
    serving = read_record(ServingConfig, given.serving)
    manifest = read_record(ArtifactManifest, given.manifest) if given.manifest else None
    digest = verify_folder(given.artifact, given.expect_digest, manifest)
    token = _read_token(given.token_file, serving)
    listener = _listen(given.host, given.port)
    if given.port_file:
        given.port_file.write_text(str(listener.getsockname()[1]), encoding="ascii")
    bounds = Bounds(memory_bytes=given.memory_mib * 1024**2, file_bytes=_FILE_BYTES, open_files=_OPEN_FILES)
    for lock, state in confine(bounds, Reach(readable=(given.artifact,), writable=()), cpu_s=None).items():
        log.info("%s %s", lock, state)

    import uvicorn

    from model_approval.validators.onnx_session import find_model, open_model
    from model_approval.validators.server_app import make_app

    model = open_model(find_model(given.artifact, given.model), threads=given.threads)
    log.info("serving %s on %s:%d (%s)", digest, *listener.getsockname()[:2], model.device)
    app = make_app(model, serving, artifact_digest=digest, token=token)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_keep_alive=15
    )
    uvicorn.Server(config).run(sockets=[listener])


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.model_server", description=__doc__)
    parser.add_argument("--artifact", type=Path, required=True, help="folder with the model's files")
    parser.add_argument("--expect-digest", help="the artifact digest that the folder must have")
    parser.add_argument("--serving", type=Path, required=True, help="JSON file with the serving configuration")
    parser.add_argument("--manifest", type=Path, help="JSON file with the manifest that the folder must have")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--model", help="path of the ONNX file in the folder, when there are several")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="file to write the port to, once it listens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-mib", type=int, default=16 * 1024)
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        _serve(given)
    except (ModelApprovalError, OSError, ValueError) as err:
        sys.stderr.write(f"model server: {plain_line(str(err))}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
