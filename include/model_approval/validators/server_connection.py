"""One connection of the model server, from its first byte to its last, in a thread of its own.

The thread that reads a request also runs the model: a hand-off between threads costs more than everything else here.
A head that came before is not parsed again, as a client sends the same one over and over.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from model_approval.validators.server_answer import Answer, Refusal, error_answer
from model_approval.validators.server_body import Body, read_chunks
from model_approval.validators.server_head import MAX_HEAD_BYTES, Head, parse_head

if TYPE_CHECKING:
    from typing_extensions import Buffer

log = logging.getLogger(__name__)

_BLOCK = 64 * 1024
_KEPT_HEADS = 16
_KEPT_BYTES = 2048
"""Longer heads are not kept: what a connection keeps has to stay small, as there may be hundreds."""
_VECTORS = 64
"""Buffers in one system call, far below the kernel's 1024."""
_LINGER_S = 2.0


@dataclass(frozen=True)
class Timeouts:
    """How long a client may take, in seconds."""

    idle_s: float = 15.0
    """Between two bytes, and between two requests."""
    head_s: float = 10.0
    body_s: float = 30.0
    answer_s: float = 60.0


Endpoint = Callable[[Head, memoryview], Answer]


class Application(Protocol):
    """What answers requests."""

    max_body_bytes: int
    headers: bytes
    """Rendered header lines on every answer."""

    def route(self, head: Head) -> Endpoint:
        """Who answers, told from the head alone. Raises Refusal; called once for several equal heads."""
        ...


@dataclass(frozen=True)
class _Known:
    head: Head
    endpoint: Endpoint


class Connection:
    """Serves requests until the client leaves, errs or takes too long."""

    def __init__(self, client: socket.socket, app: Application, timeouts: Timeouts) -> None:
        self.busy = False
        """Whether a request is being read or answered; false while waiting for one."""
        self.waiting_since = time.monotonic()
        self._socket, self._app, self._timeouts = client, app, timeouts
        self._data = b""
        self._body = Body(client, timeouts.body_s)
        self._closing = False
        self._known: dict[bytes, _Known] = {}

    def serve(self) -> None:
        """The thread's work; closes the connection in the end."""
        try:
            _set_timeouts(self._socket, self._timeouts.idle_s)
            while not self._closing and (end := self._receive_head()):
                self._serve_one(end)
                self.busy = False
                self.waiting_since = time.monotonic()
        except OSError:
            pass  # the client left or stalled: nobody is there to be told
        finally:
            self._socket.close()

    def close_when_idle(self) -> None:
        """End after the request in hand, at once without one."""
        self._closing = True
        if not self.busy:
            self.abort()

    def abort(self) -> None:
        """End now; the thread's system call returns."""
        with contextlib.suppress(OSError):  # ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    def turn_away(self, refusal: Refusal) -> None:
        """Answer with an error without reading a request, and end; never waits for the client."""
        try:
            self._socket.setblocking(False)
            self._send(error_answer(refusal, ""), close=True, bodyless=False)
        except OSError:
            pass  # the client left
        finally:
            self._socket.close()

    def _receive_head(self) -> int:
        """Read until a head is complete; returns its length, 0 when the client is done."""
        data, deadline = self._data, 0.0
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > MAX_HEAD_BYTES:
                return self._refuse(Refusal(431, f"the head is longer than {MAX_HEAD_BYTES} bytes"))
            try:
                block = self._socket.recv(_BLOCK)
            except BlockingIOError:  # the kernel's time-out
                if not data:
                    return 0
                return self._refuse(Refusal(408, f"nothing came for {self._timeouts.idle_s:g} s"))
            if not block:
                return 0
            now = time.monotonic()
            deadline = deadline or now + self._timeouts.head_s
            if now > deadline:
                return self._refuse(Refusal(408, f"the head did not arrive within {self._timeouts.head_s:g} s"))
            data = data + block if data else block
        self._data = data
        if end + 4 > MAX_HEAD_BYTES:
            return self._refuse(Refusal(431, f"the head is longer than {MAX_HEAD_BYTES} bytes"))
        self.busy = True
        return end + 4

    def _refuse(self, refusal: Refusal, path: str = "") -> int:
        """Answer with an error and close, since nobody knows where the next request would start."""
        self._closing = True
        self._send(error_answer(refusal, path), close=True, bodyless=False)
        self._linger()
        return 0

    def _linger(self) -> None:
        """Swallow what the client still sends: a close on unread bytes would take the answer away from it."""
        self._socket.shutdown(socket.SHUT_WR)
        _set_timeouts(self._socket, _LINGER_S)
        deadline = time.monotonic() + _LINGER_S
        while time.monotonic() < deadline and self._socket.recv(_BLOCK):
            pass

    def _serve_one(self, end: int) -> None:
        raw = self._data[:end]
        head: Head | None = None
        try:
            known = self._known.get(raw)
            if known is None:
                head = parse_head(raw)
                known = self._look_up(head, raw)
            head = known.head
            body = self._read_body(head, end)
        except Refusal as refusal:
            self._refuse_head(refusal, head, end)
            return
        self._reply(head, self._answer(known, body))

    def _reply(self, head: Head, answer: Answer) -> None:
        self._closing = self._closing or not head.keep_alive
        self._send(answer, close=self._closing, bodyless=head.method == "HEAD")

    def _refuse_head(self, refusal: Refusal, head: Head | None, end: int) -> None:
        if head is None or head.content_length != 0:
            self._refuse(refusal, head.path if head else "")
            return
        self._data = self._data[end:]  # no body: where the next request starts is beyond doubt
        self._reply(head, error_answer(refusal, head.path))

    def _look_up(self, head: Head, raw: bytes) -> _Known:
        limit = self._app.max_body_bytes
        endpoint = self._app.route(head)
        if head.content_length is not None and head.content_length > limit:
            raise Refusal(413, f"the body may have {limit} bytes at most")
        known = _Known(head, endpoint)
        if len(raw) <= _KEPT_BYTES:
            if len(self._known) >= _KEPT_HEADS:
                self._known.clear()
            self._known[raw] = known
        return known

    def _read_body(self, head: Head, end: int) -> memoryview:
        data, length, json_bytes = self._data, head.content_length, head.json_bytes or 0
        if head.expects_continue and len(data) == end:
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if length is None:
            limit = self._app.max_body_bytes
            body, self._data = read_chunks(self._socket, data[end:], limit, self._timeouts.body_s)
            return self._body.take(body, len(body), json_bytes)
        stop = end + length
        self._data = data[stop:]
        return self._body.take(memoryview(data)[end:stop], length, json_bytes)

    def _answer(self, known: _Known, body: memoryview) -> Answer:
        try:
            return known.endpoint(known.head, body)
        except Refusal as refusal:
            return error_answer(refusal, known.head.path)
        except Exception:  # outer edge of a request: the server goes on, its log has the reason
            log.exception("%s %s failed", known.head.method, known.head.path)
            return error_answer(Refusal(500, "the server failed; see its log"), known.head.path)

    def _send(self, answer: Answer, *, close: bool, bodyless: bool) -> None:
        head = b"%s%s%sContent-Length: %d\r\n%s\r\n" % (
            _STATUS_LINES[answer.status],
            self._app.headers,
            answer.headers,
            answer.length,
            b"Connection: close\r\n" if close else b"",
        )
        parts = (head,) if bodyless else (head, *answer.parts)
        total = len(head) if bodyless else len(head) + answer.length
        sent = self._socket.sendmsg(parts[:_VECTORS])
        if sent < total:
            _send_rest(self._socket, parts, sent, self._timeouts.answer_s)


_STATUS_LINES = {int(status): f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode() for status in HTTPStatus}


def _set_timeouts(client: socket.socket, seconds: float) -> None:
    """In the kernel: Python's own time-outs cost one more system call for each read."""
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _send_rest(client: socket.socket, parts: Sequence[Buffer], sent: int, timeout_s: float) -> None:
    views = [memoryview(part).cast("B") for part in parts]
    deadline = time.monotonic() + timeout_s
    while True:
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if not views:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("the client takes too long to read the answer")
        views[0] = views[0][sent:]
        sent = client.sendmsg(views[:_VECTORS])
