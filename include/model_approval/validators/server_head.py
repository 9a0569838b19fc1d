"""Request heads of HTTP/1.1, read strictly: what two programs could read in two ways is refused.

Source: RFC 9112. Refused beyond it: line ends other than CRLF, folded headers, any transfer coding but `chunked`, and a
length beside a transfer coding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model_approval.validators.server_answer import Refusal

MAX_HEAD_BYTES = 16 * 1024
_MAX_HEADERS = 64
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[\x21-\x7e]{0,4095}|\*) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_JSON_BYTES = "inference-header-content-length"
_ONCE = ("host", "content-length", "transfer-encoding", "authorization", _JSON_BYTES)
_DECIMAL = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Head:
    """Everything of a request before its body."""

    method: str
    path: str
    """Without the query."""
    headers: dict[str, str]
    """Names in lower case; values that came several times are joined by a comma."""
    content_length: int | None
    """None: the body comes in chunks."""
    json_bytes: int | None
    """Length of the JSON that comes before binary tensors (`Inference-Header-Content-Length`)."""
    keep_alive: bool
    expects_continue: bool


def parse_head(data: bytes) -> Head:
    """Read a request's head, the empty line at its end included.

    Raises:
        Refusal: 400, 431 or 501 and what is wrong.
    """
    first, *lines = data[:-4].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        raise Refusal(400, "the request line is not `METHOD /path HTTP/1.1`")
    headers = _headers(lines)
    minor = match[3]
    connection = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return Head(
        method=match[1].decode("ascii"),
        path=match[2].decode("ascii").partition("?")[0],
        headers=headers,
        content_length=_length(headers),
        json_bytes=_number(_JSON_BYTES, headers[_JSON_BYTES]) if _JSON_BYTES in headers else None,
        keep_alive="close" not in connection and (minor == b"1" or "keep-alive" in connection),
        expects_continue=minor == b"1" and headers.get("expect", "").lower() == "100-continue",
    )


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > _MAX_HEADERS:
        raise Refusal(431, f"more than {_MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if not match:
            raise Refusal(400, "a header line is not `Name: value`")
        name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1").rstrip(" \t")
        if name in headers:
            if name in _ONCE:
                raise Refusal(400, f"the header {name} came twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _length(headers: dict[str, str]) -> int | None:
    coding = headers.get("transfer-encoding")
    if coding is None:
        return _number("content-length", headers.get("content-length", "0"))
    if "content-length" in headers:
        raise Refusal(400, "content-length and transfer-encoding exclude each other")
    if coding.lower() != "chunked":
        raise Refusal(501, "the only transfer coding that is known is `chunked`")
    return None


def _number(header: str, value: str) -> int:
    if not _DECIMAL.fullmatch(value):
        raise Refusal(400, f"{header} is no whole number")
    return int(value)
