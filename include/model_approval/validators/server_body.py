"""Request bodies: read into one aligned buffer that a connection keeps, within its time and its length."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from model_approval.validators.server_answer import Refusal

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ALIGNMENT = 64
"""Bytes; the widest vector registers, so that a tensor in the buffer is used where it lies."""
_KEPT_BYTES = 1024**2
_KEPT_LOCAL_BYTES = 64 * 1024**2
"""A buffer larger than this is given back after its request. On a Unix socket the few clients are ours, and fresh pages
for every large tensor would cost them a millisecond."""
_BLOCK = 64 * 1024
_MAX_LINE = 1024
_MAX_TRAILERS = 32


class Body:
    """Where a connection's bodies lie. What `take` returned is overwritten by the next one."""

    def __init__(self, client: socket.socket, timeout_s: float) -> None:
        self._socket, self._timeout_s = client, timeout_s
        self._kept = _KEPT_LOCAL_BYTES if client.family == socket.AF_UNIX else _KEPT_BYTES
        self._room = memoryview(b"")
        self._aligned = 0

    def take(self, begin: Buffer, length: int, json_bytes: int) -> memoryview:
        """A body of `length` bytes that starts with `begin`; the rest is read from the connection.

        The byte after the first `json_bytes`, where binary tensors start, is aligned to 64 bytes.

        Raises:
            Refusal: 408, it does not arrive in time.
            OSError: The client left.
        """
        start = self._make_room(length, json_bytes)
        view = self._room[start : start + length]
        have = memoryview(begin).nbytes
        view[:have] = begin
        if have < length:
            self._receive(view[have:])
        return view

    def _make_room(self, length: int, json_bytes: int) -> int:
        needed = length + 2 * _ALIGNMENT
        if len(self._room) < needed or len(self._room) > max(self._kept, needed):
            import numpy as np

            room = np.empty(max(needed, 2 * _BLOCK), np.uint8)
            self._room = room.data
            self._aligned = -room.ctypes.data % _ALIGNMENT
        return self._aligned + -json_bytes % _ALIGNMENT

    def _receive(self, view: memoryview) -> None:
        deadline = time.monotonic() + self._timeout_s
        while view:
            try:
                count = self._socket.recv_into(view)
            except BlockingIOError as err:
                raise _late(self._timeout_s) from err
            if not count:
                raise ConnectionResetError("the client left in the middle of a body")
            view = view[count:]
            if view and time.monotonic() > deadline:
                raise _late(self._timeout_s)


def read_chunks(client: socket.socket, data: bytes, limit: int, timeout_s: float) -> tuple[bytearray, bytes]:
    """Read a body in chunks (RFC 9112, section 7.1); extensions and trailers are dropped.

    Returns:
        The body, and what came after it.

    Raises:
        Refusal: 400 malformed, 408 too slow, 413 longer than the limit.
        OSError: The client left.
    """
    return _Chunks(client, data, limit, timeout_s).read()


class _Chunks:
    def __init__(self, client: socket.socket, data: bytes, limit: int, timeout_s: float) -> None:
        self._socket, self._data, self._limit = client, bytearray(data), limit
        self._timeout_s, self._deadline = timeout_s, time.monotonic() + timeout_s

    def read(self) -> tuple[bytearray, bytes]:
        body = bytearray()
        while size := self._size():
            if len(body) + size > self._limit:
                raise Refusal(413, f"the body may have {self._limit} bytes at most")
            while len(self._data) < size + 2:
                self._more()
            body += self._data[:size]
            if self._data[size : size + 2] != b"\r\n":
                raise Refusal(400, "a chunk does not end where it says")
            del self._data[: size + 2]
        for _ in range(_MAX_TRAILERS):
            if not self._line():
                return body, bytes(self._data)
        raise Refusal(431, "too many trailers")

    def _size(self) -> int:
        digits = self._line().partition(b";")[0].rstrip(b" \t")
        if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise Refusal(400, "a chunk's size is no hexadecimal number")
        return int(digits, 16)

    def _line(self) -> bytes:
        while (end := self._data.find(b"\r\n", 0, _MAX_LINE)) < 0:
            if len(self._data) >= _MAX_LINE:
                raise Refusal(400, f"a line between chunks is longer than {_MAX_LINE} bytes")
            self._more()
        line = bytes(self._data[:end])
        del self._data[: end + 2]
        return line

    def _more(self) -> None:
        try:
            block = self._socket.recv(_BLOCK)
        except BlockingIOError as err:
            raise _late(self._timeout_s) from err
        if not block:
            raise ConnectionResetError("the client left in the middle of a body")
        if time.monotonic() > self._deadline:
            raise _late(self._timeout_s)
        self._data += block


def _late(timeout_s: float) -> Refusal:
    return Refusal(408, f"the body did not arrive within {timeout_s:g} s")
