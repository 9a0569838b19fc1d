"""A language model of our own that says `word word word`, streamed, with the delays and faults that a test plants."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.raw_server import raw_server, read_request


@dataclass
class Speaker:
    """What it does.

    Attributes:
        first_s: Wait before the first token.
        between_s: Wait before each other token.
        counts: Whether it tells how many tokens there were.
        behave: Given the number of the request, what it does: "answer", "break" (stops in the middle), "refuse" (503),
            "silent" (no text), "error" (an error event), "hang" (waits for `end`), "garbage".
        asked: Paths and bodies of all requests for text.
        at_once: The most requests that were under way together.
    """

    first_s: float = 0.0
    between_s: float = 0.0
    counts: bool = True
    behave: Callable[[int], str] = lambda number: "answer"
    asked: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    at_once: int = 0
    end: threading.Event = field(default_factory=threading.Event)
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def talk(self, connection: socket.socket) -> None:
        """Serve one connection."""
        head, body = read_request(connection)
        if not head:
            return
        if head.startswith(b"GET "):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            return
        document = json.loads(body)
        with self._lock:
            self._under_way += 1
            self.at_once = max(self.at_once, self._under_way)
            number = len(self.asked)
            self.asked.append((head.split(b" ")[1].decode(), document))
        try:
            self._answer(connection, self.behave(number), self.asked[number])
        finally:
            with self._lock:
                self._under_way -= 1

    def _answer(self, connection: socket.socket, how: str, asked: tuple[str, dict[str, object]]) -> None:
        path, document = asked
        if how == "refuse":
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 17\r\n\r\n" + b'{"error": "busy"}')
            return
        if how == "hang":
            self.end.wait()
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        if how == "garbage":
            connection.sendall(_chunk(b"data: {no json\n\n"))
            return
        parameters = document.get("parameters", {})
        assert isinstance(parameters, dict)
        tokens = int(str(document.get("max_tokens") or parameters["max_tokens"]))
        for position in range(0 if how == "silent" else tokens):
            time.sleep(self.first_s if position == 0 else self.between_s)
            if how in ("break", "error") and position == tokens // 2:
                if how == "break":
                    return
                connection.sendall(_chunk(b'data: {"error": {"message": "out of blocks"}}\n\n'))
            connection.sendall(_chunk(_event(path)))
        if self.counts and "/v1/" in path:
            usage = {"choices": [], "usage": {"completion_tokens": tokens}}
            connection.sendall(_chunk(b"data: " + json.dumps(usage).encode() + b"\n\n"))
        connection.sendall((_chunk(b"data: [DONE]\n\n") if "/v1/" in path else b"") + b"0\r\n\r\n")


def _event(path: str) -> bytes:
    text: dict[str, object] = {"text_output": "word "}
    if path.endswith("/chat/completions"):
        text = {"choices": [{"index": 0, "delta": {"content": "word "}}]}
    elif path.endswith("/completions"):
        text = {"choices": [{"index": 0, "text": "word "}]}
    return b"data: " + json.dumps(text).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextmanager
def speaking(folder: Path | None, speaker: Speaker) -> Iterator[str]:
    """A running server; yields its socket's path, or without a folder the URL of a loopback port."""
    with raw_server(folder / "llm.sock" if folder else None, speaker.talk) as where:
        try:
            yield where
        finally:
            speaker.end.set()
