"""A streamed answer as it arrives: bytes in; pieces of text, and the moment each came, out. Pure: it reads no socket.

Sources: server-sent events, WHATWG HTML section 9.2 (`data:` lines, an empty line ends an event); chunked transfer,
RFC 9112 section 7.1; OpenAI's streamed completions (`[DONE]` ends them, `usage` counts tokens).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import plain_line

_MAX_HEAD = 64 * 1024
_MAX_LINE = 1024**2
_MAX_BODY = 256 * 1024**2


@dataclass
class StreamedAnswer:
    """One answer, fed block by block.

    Attributes:
        pieces_ns: When each piece of text came, on the caller's clock.
        text_bytes: Length of all text.
        tokens: Output tokens as the server counts them, if it does.
        finished: Whether the answer came to its proper end.
    """

    status: int = 0
    pieces_ns: list[int] = field(default_factory=list)
    text_bytes: int = 0
    tokens: int | None = None
    finished: bool = False
    error: str = ""
    _head: bytearray = field(default_factory=bytearray, repr=False)
    _body: _Body | None = field(default=None, repr=False)
    _lines: bytearray = field(default_factory=bytearray, repr=False)
    _data: list[bytes] = field(default_factory=list, repr=False)
    _said_done: bool = False

    def feed(self, block: bytes, now_ns: int) -> None:
        """Take what has arrived; b"" says that the connection ended.

        Raises:
            EvidenceError: It is no HTTP, no event stream, or longer than any answer.
        """
        if self._body is None:
            self._head += block
            if (end := self._head.find(b"\r\n\r\n")) < 0:
                if len(self._head) > _MAX_HEAD:
                    raise EvidenceError("the head of the streamed answer does not end")
                return
            self.status, self._body = _open(bytes(self._head[:end]))
            block = bytes(self._head[end + 4 :])
        self._lines += self._body.take(block)
        if self.status == 200:
            self._take_lines(now_ns)
        else:
            self.error = plain_line(self._lines[:2000].decode("utf-8", "replace"), limit=500)
        self.finished = self._said_done or self._body.complete

    def _take_lines(self, now_ns: int) -> None:
        while (end := self._lines.find(b"\n")) >= 0:
            line = bytes(self._lines[:end]).rstrip(b"\r")
            del self._lines[: end + 1]
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                self._take_event(b"\n".join(self._data), now_ns)
                self._data.clear()
        if len(self._lines) > _MAX_LINE:
            raise EvidenceError("a line of the event stream is longer than any token")

    def _take_event(self, data: bytes, now_ns: int) -> None:
        if data.strip() == b"[DONE]":
            self._said_done = True
            return
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            raise EvidenceError(f"an event is no JSON: {plain_line(data[:200].decode('utf-8', 'replace'))}") from None
        if not isinstance(document, dict):
            raise EvidenceError("an event is no JSON object")
        if document.get("error"):
            self.error = plain_line(json.dumps(document["error"]), limit=500)
        usage = document.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            self.tokens = usage["completion_tokens"]
        if text := text_of(document):
            self.text_bytes += len(text.encode("utf-8", "replace"))
            self.pieces_ns.append(now_ns)


def text_of(document: dict[str, object]) -> str:
    """The text that one event adds: of a completion, a chat completion, or `generate_stream`."""
    choices = document.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        choice = choices[0]
        delta = choice.get("delta")
        found = delta if isinstance(delta, dict) else choice
        # A model that thinks aloud streams that under a name of its own; it is output all the same.
        return "".join(str(found[key]) for key in ("reasoning_content", "content", "text") if found.get(key))
    return str(document.get("text_output") or "")


@dataclass
class _Body:
    """Takes the transfer coding off."""

    length: int | None
    chunked: bool
    complete: bool = False
    _buffer: bytearray = field(default_factory=bytearray)
    _taken: int = 0

    def take(self, block: bytes) -> bytes:
        self._taken += len(block)
        if self._taken > _MAX_BODY:
            raise EvidenceError("the streamed answer is longer than 256 MiB")
        if not self.chunked:
            self.complete = self.length is not None and self._taken >= self.length
            return block
        self._buffer += block
        out = bytearray()
        while not self.complete and (end := self._buffer.find(b"\r\n")) >= 0:
            size = _chunk_size(bytes(self._buffer[:end]))
            if len(self._buffer) < end + 2 + size + 2:
                break
            out += self._buffer[end + 2 : end + 2 + size]
            del self._buffer[: end + 2 + size + 2]
            self.complete = size == 0
        return bytes(out)


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.split(b";")[0], 16)
    except ValueError:
        raise EvidenceError("the streamed answer is not chunked as it says") from None


def _open(head: bytes) -> tuple[int, _Body]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        raise EvidenceError("the server does not speak HTTP/1.1")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "")
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    return int(rest[:3]), _Body(int(length) if length.isdecimal() else None, chunked)
