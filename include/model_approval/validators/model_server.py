"""Serves one model over HTTP, on a TCP port, a Unix socket or both: what is measured is what serves.

    python -m model_approval.validators.model_server --artifact DIR --manifest FILE --serving FILE --port 8080
    python -m model_approval.validators.model_server --artifact DIR --socket PATH

`server_app.py` lists the paths. On a port it hashes the folder before it loads anything and ends if the bytes are not
the expected ones. The promised headers are on every answer. The process listens first and then locks itself in: what it
serves can open no connection, start no program and read no file but the model's.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from model_approval.domain.deployment import ServingConfig
from model_approval.domain.errors import EvidenceError, IntegrityError, ModelApprovalError
from model_approval.domain.manifest import ArtifactManifest, manifest_of_folder, require_same_bytes
from model_approval.validators.confinement import Reach, confine, import_locks_from
from model_approval.validators.contract import Bounds, plain_line, read_record
from model_approval.validators.processors import usable_cpus
from model_approval.validators.runtimes.choose import Kind, Wanted, open_runtime
from model_approval.validators.server_listener import MAX_CONNECTIONS, Server, listen_tcp, listen_unix
from model_approval.validators.server_options import AT_ONCE, Identity, Options
from model_approval.validators.server_status import Status

log = logging.getLogger(__name__)

_MODULE = "model_approval.validators.model_server"
_FILE_BYTES = 1024**2
_OPEN_FILES = 4096
_DEFAULT_BODY_MIB = 64
_NEEDED_FOR_CODE = ("confinement.landlock", "confinement.seccomp")
_FOR_CODE = (Path("/proc/self/maps"),)
"""scikit-learn finds its thread pools in its own memory map."""
_GPU_CONTROL = Path("/dev/nvidiactl")


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


def _options(given: argparse.Namespace) -> Options:
    serving = read_record(ServingConfig, given.serving) if given.serving else ServingConfig()
    limit = serving.max_body_bytes if given.serving else _DEFAULT_BODY_MIB * 1024**2
    return Options(
        serving=serving,
        max_body_bytes=given.max_body_mib * 1024**2 if given.max_body_mib else limit,
        token=_read_token(given.token_file, serving),
        at_once=given.at_once,
        finite_inputs=not given.accept_nan,
    )


def _digest(given: argparse.Namespace) -> str | None:
    """None on a Unix socket alone: whoever asks there put the files there, and verified them."""
    manifest = read_record(ArtifactManifest, given.manifest) if given.manifest else None
    if given.socket and given.port is None and manifest is None and given.expect_digest is None:
        return None
    return verify_folder(given.artifact, given.expect_digest, manifest)


def _listen(given: argparse.Namespace) -> list[socket.socket]:
    listeners = []
    if given.socket:
        listeners.append(listen_unix(given.socket))
    if given.port is not None or not given.socket:
        listeners.append(listen_tcp(given.host, 8080 if given.port is None else given.port))
        if given.port_file:
            given.port_file.write_text(str(listeners[-1].getsockname()[1]), encoding="ascii")
    return listeners


def _confine(given: argparse.Namespace) -> dict[str, str]:
    if given.locks_from:
        import_locks_from(given.locks_from)
    bounds = Bounds(
        memory_bytes=given.memory_mib * 1024**2,
        file_bytes=_FILE_BYTES,
        open_files=_OPEN_FILES,
        unix_sockets=_GPU_CONTROL.exists(),
    )
    writable = (given.scratch,) if given.scratch else ()
    readable = (given.artifact, *(_FOR_CODE if given.allow_code else ()))
    locks = confine(bounds, Reach(readable=readable, writable=writable), cpu_s=None)
    for lock, state in locks.items():
        log.info("%s %s", lock, state)
    return locks


def _wanted(given: argparse.Namespace, locks: Mapping[str, str]) -> Wanted:
    missing = [f"{lock} {locks[lock]}" for lock in _NEEDED_FOR_CODE if not locks[lock].startswith("in force")]
    if given.allow_code and missing:
        raise EvidenceError(
            f"code that comes with a model may run only where it is confined, but here {'; '.join(missing)}",
            hint="give --locks-from the folder with the libraries landlock and pyseccomp, on a kernel that has both",
        )
    return Wanted(
        model=given.model,
        kind=given.runtime,
        threads=given.threads or usable_cpus(),
        cuda=not given.cpu,
        may_run_code=given.allow_code,
    )


def _stop_signal() -> int:
    """A pipe that gets a byte on SIGTERM or SIGINT, whichever thread the kernel hands the signal to."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reading


def _end_with_input() -> NoReturn:
    while os.read(0, 1):
        pass
    os._exit(0)


def _serve(given: argparse.Namespace) -> None:
    status = Status(given.events_file)
    status.event("started")
    digest = _digest(given)
    options = _options(given)
    listeners = _listen(given)
    status.event("listening")
    status.facts["confinement"] = locks = _confine(given)
    status.event("confined")
    if given.until_input_ends:  # a thread, so that a load that never ends does not outlive its owner either
        threading.Thread(target=_end_with_input, daemon=True).start()

    # Imports numpy, whose threads would be there before the locks: Landlock binds the one that asks for it.
    from model_approval.validators.server_app import ModelApplication

    identity = Identity(given.name, given.model_version, digest)
    app = ModelApplication(identity, options, status)
    server = Server(listeners, app, max_connections=given.max_connections)
    server.start()
    runtime = open_runtime(given.artifact, _wanted(given, locks))
    stopped = _stop_signal()
    app.serve(runtime)
    status.event("loaded", device=runtime.device)
    log.info("serving %s with %s %s (%s)", digest or given.artifact, runtime.name, runtime.version, runtime.device)
    gc.collect()
    gc.freeze()  # what is loaded now stays: no later collection has to look through it
    os.read(stopped, 1)
    server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_MODULE, description=__doc__)
    add = parser.add_argument
    add("--artifact", type=Path, required=True, help="folder with the model's files")
    add("--expect-digest", help="the artifact digest that the folder must have")
    add("--manifest", type=Path, help="JSON file with the manifest that the folder must have")
    add("--serving", type=Path, help="JSON file with the serving configuration")
    add("--token-file", type=Path)
    add("--until-input-ends", action="store_true", help="stop when standard input ends: with whoever started it")
    add("--model", help="path of the model's file in the folder, when there are several")
    add("--name", default="model", help="the model's name in the paths of /v2")
    add("--model-version", default="1", help="the model's version in the paths of /v2")
    add("--socket", type=Path, help="Unix socket to listen on")
    add("--host", default="127.0.0.1")
    add("--port", type=int, help="0: any free one; without --socket 8080")
    add("--port-file", type=Path, help="file to write the port to, once it listens")
    add("--events-file", type=Path, help="file that gets a line of JSON at each step of the start")
    add("--scratch", type=Path, help="the only folder that the model may write to")
    add("--threads", type=int, help="of one inference; as many as the container's quota, if not given")
    add("--at-once", type=int, default=AT_ONCE, help="inferences at the same time; others wait")
    add("--max-connections", type=int, default=MAX_CONNECTIONS)
    add("--max-body-mib", type=int, help="instead of the serving configuration's limit")
    add("--memory-mib", type=int, default=16 * 1024)
    add("--accept-nan", action="store_true", help="pass NaN and infinity in binary inputs on to the model")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--runtime", type=Kind, choices=list(Kind), help="what runs the model, if its files do not tell")
    add("--python", type=Path, help="go on in this interpreter: one with mlflow or torch, and this package")
    add("--locks-from", type=Path, help="folder of landlock and pyseccomp, for an interpreter that lacks them")
    add("--allow-code", action="store_true", help="run code that comes with the artifact; it is confined like the rest")
    return parser


def _become(python: Path, arguments: list[str]) -> NoReturn:
    """Go on in another interpreter, made for the model, and lend it the libraries of the locks."""
    spec = importlib.util.find_spec("landlock")
    folder = Path(spec.origin).parents[1] if spec and spec.origin else None
    locks = ["--locks-from", str(folder)] if folder and "--locks-from" not in arguments else []
    try:
        os.execv(python, [str(python), "-I", "-m", _MODULE, *arguments, *locks])  # noqa: S606  (an argument list)
    except OSError as err:
        raise EvidenceError(f"{python} cannot be started: {err.strerror}", hint="mend --python") from err


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    other = argparse.ArgumentParser(add_help=False)
    other.add_argument("--python", type=Path)
    chosen, arguments = other.parse_known_args(argv)
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        if chosen.python:
            _become(chosen.python, arguments)
        _serve(given)
    except (ModelApprovalError, OSError, ValueError) as err:
        sys.stderr.write(f"model server: {plain_line(str(err))}\n")
        return 1
    logging.shutdown()
    os._exit(0)  # without waiting for threads of a runtime, or for connections that outlived their grace


if __name__ == "__main__":
    sys.exit(main())
