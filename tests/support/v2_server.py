"""A tiny model server that speaks the Open Inference Protocol over a Unix socket, in a thread of the test.

It answers `y = 2 x` for one float32 input `x`, and misbehaves on demand.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

METADATA = {
    "name": "model",
    "platform": "fake",
    "versions": ["1"],
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}],
    "parameters": {"device": "cpu", "runtime": "fake 1"},
}


def http(status: int, body: bytes, headers: str = "") -> bytes:
    """An HTTP answer."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def doubled(head: str, body: bytes) -> bytes:
    """The honest answer to a request: twice the input."""
    length = int(head.lower().split("inference-header-content-length: ")[1].split("\r\n")[0])
    described = json.loads(body[:length])["inputs"][0]
    values = np.frombuffer(body[length:], np.float32) * 2
    output = {**described, "name": "y"}
    header = json.dumps({"model_name": "model", "outputs": [output]}).encode()
    return http(200, header + values.tobytes(), f"Inference-Header-Content-Length: {len(header)}\r\n")


@dataclass
class V2Server:
    """What the fake does.

    Attributes:
        where: Its socket's path.
        infer: Makes the whole HTTP answer of an inference request from its head and body; b"" closes the connection.
        metadata: What `GET /v2/models/model` tells.
        asked: How many inference requests came.
    """

    where: str
    infer: Callable[[str, bytes], bytes] = doubled
    metadata: dict[str, object] = field(default_factory=lambda: dict(METADATA))
    asked: int = 0
    connections: list[socket.socket] = field(default_factory=list)

    def hang_up(self) -> None:
        """Close all connections, as a server does with idle ones."""
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def answer(self, head: str, body: bytes) -> bytes:
        """The answer to any request."""
        path = head.split(" ")[1]
        if path.endswith("/infer"):
            self.asked += 1
            return self.infer(head, body)
        if path.endswith("/ready") or path.endswith("/live"):
            return http(200, b"")
        return http(200, json.dumps(self.metadata).encode()) if path == "/v2/models/model" else http(404, b"{}")


@contextmanager
def v2_server(folder: Path) -> Iterator[V2Server]:
    """A running fake; its socket is in the folder."""
    server = V2Server(str(folder / "v2.sock"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(server.where)
        listener.listen()
        threading.Thread(target=_accept, args=(listener, server), daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, server: V2Server) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        server.connections.append(connection)
        threading.Thread(target=_talk, args=(connection, server), daemon=True).start()


def _talk(connection: socket.socket, server: V2Server) -> None:
    with connection, connection.makefile("rb") as stream:
        while line := stream.readline():
            head = line.decode()
            while (line := stream.readline()) not in (b"\r\n", b""):
                head += line.decode()
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            answer = server.answer(head, stream.read(length))
            if not answer:
                return
            connection.sendall(answer)
