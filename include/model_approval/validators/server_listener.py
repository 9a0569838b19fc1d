"""Listening sockets and the connections they brought: how many at once, and how they end."""

from __future__ import annotations

import logging
import socket
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from model_approval.domain.errors import EvidenceError
from model_approval.validators.server_answer import Refusal
from model_approval.validators.server_connection import Application, Connection, Timeouts

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
_BACKLOG = 128
_BUFFER_BYTES = 1024**2
_LONGEST_SOCKET_PATH = 107
"""Bytes; `sun_path` of Linux less its terminating zero."""


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listener on a host's port; 0: any free one."""
    return socket.create_server((host, port), backlog=_BACKLOG)


def listen_unix(path: Path) -> socket.socket:
    """A listener on a Unix socket; one that an earlier server left there is replaced.

    Raises:
        EvidenceError: The path is too long, or is something else than a socket.
    """
    if len(str(path).encode()) > _LONGEST_SOCKET_PATH:
        raise EvidenceError(f"{path}: the path of a Unix socket may have {_LONGEST_SOCKET_PATH} bytes at most")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise EvidenceError(f"{path} exists and is no socket")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Connections inherit it: a large tensor then passes without the two processes waking each other many times.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    listener.bind(str(path))
    listener.listen(_BACKLOG)
    return listener


class Server:
    """Accepts connections and gives each a thread."""

    def __init__(
        self, listeners: Sequence[socket.socket], app: Application, *, timeouts: Timeouts | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:  # fmt: skip
        self._listeners, self._app = listeners, app
        self._timeouts, self._max = timeouts or Timeouts(), max_connections
        self._connections: dict[Connection, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def start(self) -> None:
        """Accept from now on, in threads."""
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True, name="accept").start()

    def stop(self, grace_s: float = 8.0) -> None:
        """Accept no more, let requests in hand be answered for a while, then end."""
        self._stopping = True
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        deadline = time.monotonic() + grace_s
        with self._lock:
            running = dict(self._connections)
        for connection in running:
            connection.close_when_idle()
        for connection, thread in running.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            connection.abort()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping:
            try:
                client, _ = listener.accept()
            except OSError as err:
                if not self._stopping:
                    log.warning("accept: %s", err)
                    time.sleep(0.05)  # out of descriptors: some connection has to end first
                continue
            self._take(client)

    def _take(self, client: socket.socket) -> None:
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client, self._app, self._timeouts)
        if not self._make_room():
            connection.turn_away(Refusal(503, f"{self._max} connections are busy; try again later"))
            return
        thread = threading.Thread(target=self._run, args=(connection,), daemon=True, name="connection")
        with self._lock:
            self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError:  # the limit of threads
            self._forget(connection)
            connection.turn_away(Refusal(503, "no more threads; try again later"))

    def _make_room(self) -> bool:
        """Whether there is room; the connection that has waited longest without a request has to go for it."""
        with self._lock:
            if len(self._connections) < self._max:
                return True
            idle = [connection for connection in self._connections if not connection.busy]
            if not idle:
                return False
            oldest = min(idle, key=lambda connection: connection.waiting_since)
            del self._connections[oldest]
        oldest.abort()
        return True

    def _run(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.pop(connection, None)
