"""A socket in a test's thread, each connection handed to a function: for servers that misbehave below HTTP."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def raw_server(path: Path | None, talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A running server; yields its socket's path, or without a path the URL of a free loopback port.

    `talk` may end by any OSError; the connection is closed for it.
    """
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            talk(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as listener:
        listener.bind(str(path) if path else ("127.0.0.1", 0))
        listener.listen(128)
        where = str(path) if path else f"http://127.0.0.1:{listener.getsockname()[1]}"
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield where
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def read_request(connection: socket.socket, *, longest_head: int = 64 * 1024) -> tuple[bytes, bytes]:
    """One request's head and the part of its body that comes; b"" when the client is done or sends no HTTP."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(64 * 1024)
        if not block or len(data) > longest_head:
            return b"", b""
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if not lengths or not head.startswith((b"GET ", b"POST ")):
        return b"", b""
    length = int(lengths[0].split(b":")[1])
    while len(body) < length < 1024**3:
        block = connection.recv(64 * 1024)
        if not block:
            return b"", b""
        body += block
    return head, body
