"""One model server as a process: started, recognised again after a restart of ours, asked for its health, stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from model_approval.adapters.local_serving import Desired, ServingState
from model_approval.domain.base import Record
from model_approval.domain.digests import canonical_json
from model_approval.embedded.reaper import MARK

_HEALTH_S = 2.0
_STOP_S = 8.0
_LOG_TAIL_BYTES = 4096


class _Note(Record):
    """`run/<...>/process.json`: how to find the process again."""

    desired: Desired
    pid: int
    started: str
    """The kernel's start time of the process; a pid alone may belong to somebody else by now."""


@dataclass
class ServerProcess:
    """A started server."""

    desired: Desired
    pid: int
    started: str
    folder: Path
    """Its notes: manifest, configuration, port."""
    log: Path

    @classmethod
    def start(cls, state: ServingState, desired: Desired, python: Path) -> ServerProcess:
        """Start a server on a free loopback port, with nothing of our environment."""
        spec = desired.spec
        folder = state.root / "run" / f"{spec.name}.{desired.spec_digest[7:23]}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "manifest.json").write_bytes(canonical_json(spec.manifest))
        (folder / "serving.json").write_bytes(canonical_json(spec.serving))
        log = state.log_path(spec.name)
        with log.open("ab") as output:
            child = subprocess.Popen(
                [
                    *(str(python.absolute()), "-I", "-m", "model_approval.validators.model_server"),
                    *("--artifact", desired.folder, "--manifest", str(folder / "manifest.json")),
                    *("--serving", str(folder / "serving.json"), "--token-file", str(state.token_path(spec.name))),
                    *("--port", "0", "--port-file", str(folder / "port")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=_environment(),
                start_new_session=True,  # Ctrl-C at our terminal is ours to handle
            )
        server = cls(desired, child.pid, _start_time(child.pid), folder, log)
        note = _Note(desired=desired, pid=server.pid, started=server.started)
        (folder / "process.json").write_bytes(canonical_json(note))
        child.returncode = 0  # we collect it ourselves, adopted or not; Popen must not complain when it is forgotten
        return server

    @classmethod
    def find_again(cls, state: ServingState) -> list[ServerProcess]:
        """Servers of an earlier supervisor that still run; the notes of others are removed."""
        found = []
        for folder in sorted((state.root / "run").iterdir()):
            try:
                note = _Note.model_validate_json((folder / "process.json").read_bytes())
            except (OSError, ValueError):
                note = None
            server = note and cls(note.desired, note.pid, note.started, folder, state.log_path(note.desired.spec.name))
            if server and server.alive():
                found.append(server)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        return found

    @property
    def endpoint(self) -> str | None:
        """Where it listens; None before it does."""
        try:
            return f"http://127.0.0.1:{int((self.folder / 'port').read_text(encoding='ascii'))}"
        except (OSError, ValueError):
            return None

    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        with suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return _start_time(self.pid) == self.started

    def healthy(self) -> bool:
        """Whether it answers, and with the artifact that it shall serve."""
        endpoint = self.endpoint
        if endpoint is None:
            return False
        connection = HTTPConnection("127.0.0.1", int(endpoint.rsplit(":", 1)[1]), timeout=_HEALTH_S)
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            told = json.loads(response.read(100_000))
            return response.status == 200 and told.get("artifact_digest") == self.desired.spec.artifact_digest
        except (OSError, HTTPException, ValueError, AttributeError):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Ask it to finish what it is answering and end; force it after eight seconds."""
        for number, patience in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _STOP_S)):
            deadline = time.monotonic() + patience
            if self.alive():
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self) -> str:
        """The last line of its log."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                lines = stream.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return "it left no log"
        return lines[-1][:1000] if lines else "it said nothing"


def _environment() -> dict[str, str]:
    """Nothing of ours but the stack's mark, by which its reaper finds what is left behind."""
    marked = {MARK: os.environ[MARK]} if MARK in os.environ else {}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **marked}


def _start_time(pid: int) -> str:
    """When the kernel started a process (clock ticks since boot), or empty when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
