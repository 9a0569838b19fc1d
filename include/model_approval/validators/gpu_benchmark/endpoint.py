"""A model server as the measuring program sees it: one keep-alive connection, requests rendered beforehand.

The clock runs from the first byte sent to the last byte received; nothing is encoded or decoded while it runs.

    endpoint = Endpoint.at("server.sock", who="candidate")
    prepared = endpoint.prepare({"x": array})
    nanoseconds = endpoint.time(prepared)
    outputs = endpoint.infer(prepared).outputs()
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import plain_line
from model_approval.validators.gpu_benchmark.open_inference import (
    HEADER_LENGTH,
    Arrays,
    Metadata,
    decode_infer,
    encode_infer,
    json_object,
    parse_metadata,
)

DEFAULT_TIMEOUT_S = 60.0
_BLOCK = 256 * 1024
_MAX_HEAD = 64 * 1024
_MAX_BODY = 1024**3
_MAX_CHUNK_LINE = 4096
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class ServerGoneError(EvidenceError):
    """The connection broke or nobody listens: the server ended, or never started."""


@dataclass(frozen=True)
class Prepared:
    """One inference request, ready to be sent."""

    data: bytes
    """The whole HTTP request."""
    samples: int
    """Size of the first dimension of the first input."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, not yet looked into."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    who: str = field(default="server")

    def outputs(self) -> Arrays:
        """The arrays of an inference answer. Raises EvidenceError when it breaks the protocol."""
        length = self.headers.get(HEADER_LENGTH.lower(), "")
        return decode_infer(self.body, int(length) if length.isdecimal() else None, who=self.who)

    def error(self) -> str:
        """What the server complains of, as one line."""
        try:
            told = json_object(self.body, who=self.who).get("error")
        except EvidenceError:
            told = self.body[:500].decode("utf-8", "replace")
        return plain_line(str(told), limit=500)


@dataclass
class Endpoint:
    """One connection; not for several threads at once: give each its own by `another()`.

    Attributes:
        where: Path of a Unix socket, or an `http(s)://host:port` URL.
        who: How messages name it: `candidate`, `champion`.
        model: The model's name at the server.
        timeout_s: Longest wait for one answer.
        idle_s: Unused for longer than this, a connection is looked at before it is used again.
    """

    where: str
    who: str = "candidate"
    model: str = "model"
    timeout_s: float = DEFAULT_TIMEOUT_S
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with each request, for example an authorization."""
    idle_s: float = 1.0
    _socket: socket.socket | None = field(default=None, repr=False)
    _used: float = field(default=0.0, repr=False)

    @classmethod
    def at(cls, where: str, **fields: object) -> Endpoint:
        """An endpoint; connects at the first request."""
        return cls(where, **fields)  # type: ignore[arg-type]  # fields of the class itself

    def another(self) -> Endpoint:
        """A second connection to the same server."""
        return Endpoint(self.where, self.who, self.model, self.timeout_s, self.headers, self.idle_s)

    def prepare(self, inputs: Arrays) -> Prepared:
        """Render an inference request."""
        body, header_length = encode_infer(inputs)
        shape = next(iter(inputs.values())).shape if inputs else ()
        more = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(header_length)}
        data = self.render("POST", f"/v2/models/{self.model}/infer", body, more)
        return Prepared(data, samples=shape[0] if shape else 1)

    def render(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
        """The bytes of any HTTP request to this server."""
        url = urlsplit(self.where)
        prefix, host = (url.path.rstrip("/"), url.netloc) if url.scheme else ("", "localhost")
        lines = {"Host": host, "Content-Length": str(len(body)), **dict(self.headers), **(headers or {})}
        head = f"{method} {prefix}{path} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in lines.items()
        )
        return head.encode("latin-1") + b"\r\n" + body

    def infer(self, prepared: Prepared) -> Answer:
        """Ask once.

        Raises:
            EvidenceError: The server answers with an error, or breaks the protocol.
            ServerGoneError: It does not answer.
        """
        return self._checked(self.exchange(prepared.data))

    def time(self, prepared: Prepared) -> int:
        """Ask once; nanoseconds from the first byte sent to the last one received. Raises like `infer`."""
        connection = self._connected()
        start = time.perf_counter_ns()
        answer = self._exchange(connection, prepared.data)
        elapsed = time.perf_counter_ns() - start
        self._checked(answer)
        return elapsed

    def begin(self, prepared: Prepared) -> None:
        """Send a request without waiting for its answer, which `finish` takes. Raises ServerGoneError."""
        try:
            self._connected().sendall(prepared.data)
        except OSError as err:
            self.close()
            raise self._broken(err) from err

    def finish(self) -> Answer:
        """Take the answer to what `begin` sent. Raises like `infer`."""
        if self._socket is None:
            raise ServerGoneError(f"{self.who}: the connection to the model's server is gone")
        return self._checked(self._receive(self._socket))

    def ready(self) -> bool:
        """Whether the server is there and says that the model can be asked."""
        try:
            return self.exchange(self.render("GET", f"/v2/models/{self.model}/ready")).status == 200
        except ServerGoneError:
            return False

    def metadata(self) -> Metadata:
        """What the server says of its model. Raises EvidenceError when it does not say it."""
        answer = self.exchange(self.render("GET", f"/v2/models/{self.model}"))
        if answer.status != 200:
            raise EvidenceError(f"{self.who}: no metadata of model {self.model!r}: {answer.status} {answer.error()}")
        return parse_metadata(answer.body, who=self.who)

    def exchange(self, request: bytes) -> Answer:
        """Send any bytes, read one HTTP answer whatever its status. Raises ServerGoneError when none comes."""
        return self._exchange(self._connected(), request)

    def open(self) -> socket.socket:
        """A connection for the caller to use and close. Raises ServerGoneError when nobody listens."""
        return _connect(self.where, self.who, self.timeout_s)

    def send(self, data: bytes) -> None:
        """Send any bytes, whether they are a whole request or not. Raises ServerGoneError when nobody takes them."""
        try:
            self._connected().sendall(data)
        except OSError as err:
            self.close()
            raise ServerGoneError(f"{self.who}: the connection to the model's server broke: {err}") from err

    def receive(self) -> Answer:
        """Read the answer to what was sent. Raises like `exchange`."""
        return self._exchange(self._connected(), b"")

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        now = time.monotonic()
        if self._socket is not None and now - self._used > self.idle_s and _is_over(self._socket):
            self.close()
        if self._socket is None:
            self._socket = _connect(self.where, self.who, self.timeout_s)
        self._used = now
        return self._socket

    def _checked(self, answer: Answer) -> Answer:
        if answer.status != 200:
            raise EvidenceError(f"{self.who}: the model's server answered {answer.status}: {answer.error()}")
        return answer

    def _exchange(self, connection: socket.socket, request: bytes) -> Answer:
        try:
            connection.sendall(request)
        except OSError as err:
            self.close()
            raise self._broken(err) from err
        return self._receive(connection)

    def _receive(self, connection: socket.socket) -> Answer:
        try:
            answer = _read_answer(connection, self.who)
        except OSError as err:
            self.close()
            raise self._broken(err) from err
        except EvidenceError:
            self.close()
            raise
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def _broken(self, err: OSError) -> ServerGoneError:
        if isinstance(err, TimeoutError | BlockingIOError):  # the latter by SO_RCVTIMEO
            return ServerGoneError(f"{self.who}: no answer within {self.timeout_s:g} s")
        return ServerGoneError(f"{self.who}: the connection to the model's server broke: {err}")


def _is_over(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection that was idle for long, as servers may."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except (BlockingIOError, ValueError):  # nothing there, so it is open; encrypted ones cannot be looked into
        return False
    except OSError:
        return True


def _connect(where: str, who: str, timeout_s: float) -> socket.socket:
    url = urlsplit(where)
    try:
        connection = _connect_to_host(url, timeout_s) if url.scheme else _connect_to_path(where)
    except OSError as err:
        raise ServerGoneError(f"{who}: no model server at {plain_line(where, limit=200)}: {err}") from err
    return _with_deadline(connection, timeout_s)


def _connect_to_path(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _connect_to_host(url: SplitResult, timeout_s: float) -> socket.socket:
    port = url.port or (443 if url.scheme == "https" else 80)
    connection = socket.create_connection((url.hostname or "", port), timeout=timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if url.scheme == "https":
        return ssl.create_default_context().wrap_socket(connection, server_hostname=url.hostname)
    return connection


def _with_deadline(connection: socket.socket, timeout_s: float) -> socket.socket:
    """The kernel's own time limit: Python's would cost a system call more at each send and receive."""
    connection.settimeout(None)
    deadline = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, deadline)
    return connection


def _read_answer(connection: socket.socket, who: str) -> Answer:
    data = connection.recv(_BLOCK)
    while (end := data.find(b"\r\n\r\n")) < 0:
        block = connection.recv(_BLOCK)
        if not block:
            raise ServerGoneError(f"{who}: the model's server closed the connection without an answer")
        data += block
        if len(data) > _MAX_HEAD:
            raise EvidenceError(f"{who}: the head of the model server's answer is longer than {_MAX_HEAD} bytes")
    status, headers = _parse_head(data[:end], who)
    rest = data[end + 4 :]
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) <= _MAX_BODY:
        return Answer(status, headers, _read_exactly(connection, rest, int(length), who), who)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, headers, _read_chunked(connection, rest, who), who)
    raise EvidenceError(f"{who}: the model server's answer has no usable Content-Length")


def _parse_head(head: bytes, who: str) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        raise EvidenceError(f"{who}: the model's server does not speak HTTP/1.1")
    pairs = (line.partition(":") for line in lines)
    return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _read_exactly(connection: socket.socket, have: bytes, length: int, who: str) -> bytes:
    if len(have) == length:
        return have
    parts, missing = [have], length - len(have)
    while missing > 0:
        block = connection.recv(min(missing, _BLOCK))
        if not block:
            raise ServerGoneError(f"{who}: the model's server broke off in the middle of an answer")
        parts.append(block)
        missing -= len(block)
    if missing < 0:
        raise EvidenceError(f"{who}: the model's server sent more than it announced")
    return b"".join(parts)


def _read_chunked(connection: socket.socket, have: bytes, who: str) -> bytes:
    """Body of a chunked answer (RFC 9112, section 7.1). Trailers are refused: no model server sends any."""
    body, pending = bytearray(), bytearray(have)
    while True:
        while (end := pending.find(b"\r\n")) < 0 and len(pending) <= _MAX_CHUNK_LINE:
            _receive_more(connection, pending, who)
        size = _chunk_size(bytes(pending[: max(end, 0)]), who)
        if len(body) + size > _MAX_BODY:
            raise EvidenceError(f"{who}: the model server's answer is longer than {_MAX_BODY} bytes")
        del pending[: end + 2]
        while len(pending) < size + 2:
            _receive_more(connection, pending, who)
        if pending[size : size + 2] != b"\r\n":
            raise _not_chunked(who)
        body += memoryview(pending)[:size]
        del pending[: size + 2]
        if size == 0:
            return bytes(body)


def _receive_more(connection: socket.socket, pending: bytearray, who: str) -> None:
    block = connection.recv(_BLOCK)
    if not block:
        raise ServerGoneError(f"{who}: the model's server broke off in the middle of an answer")
    pending += block


def _chunk_size(line: bytes, who: str) -> int:
    """What precedes an extension; `int` alone would take signs, prefixes and underscores too."""
    digits = line.partition(b";")[0].rstrip(b" \t")
    if len(line) > _MAX_CHUNK_LINE or not _CHUNK_SIZE.fullmatch(digits):
        raise _not_chunked(who)
    return int(digits, 16)


def _not_chunked(who: str) -> EvidenceError:
    return EvidenceError(f"{who}: the model server's answer is not chunked as it says")
