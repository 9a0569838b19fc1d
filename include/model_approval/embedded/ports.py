"""Ports: who has one that we want, and which are free."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.layout import HOST

_LISTEN = "0A"


def claim(port: int, *, program: str, flag: str) -> int:
    """A port for a program: the one asked for, or a free one when asked for 0.

    Raises:
        OutsideSystemError: It is taken; names who has it and how to choose another.
    """
    if port == 0:
        return _any_free()
    if is_free(port):
        return port
    holder = holder_of(port)
    raise OutsideSystemError(
        program,
        f"port {port} is taken by {holder or 'another program'}",
        retryable=False,
        hint=f"stop that program, or choose another port with {flag} (0 takes any free one)",
    )


def is_free(port: int) -> bool:
    """Whether a program could listen there now, also on all interfaces."""
    for host in (HOST, ""):
        with socket.socket() as probe:
            # A port in TIME_WAIT is free to listen on; without this a quick restart would look like a conflict.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def wait_free(ports: list[int], *, timeout_s: float) -> list[int]:
    """Wait until ports are free; those that are not when time is up."""
    deadline = time.monotonic() + timeout_s
    while (taken := [port for port in ports if not is_free(port)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return taken


def holder_of(port: int) -> str:
    """`name (pid 123)` of the program that listens there; empty when the kernel does not tell us."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & set(_open_files(process)):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            return f"{' '.join(words)[:80].strip()} (pid {process.name})"
    return ""


def _open_files(process: Path) -> list[str]:
    found = []
    with suppress(OSError):  # somebody else's process, or gone meanwhile
        for link in (process / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.append(str(link.readlink()))
    return found


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
