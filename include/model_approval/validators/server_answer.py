"""What the model server answers, before it is HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

JSON_TYPE = b"Content-Type: application/json\r\n"
BINARY_TYPE = b"Content-Type: application/octet-stream\r\n"


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        message: One line for the caller.
        headers: Rendered header lines, each ended by CRLF.
    """

    def __init__(self, status: int, message: str, *, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


@dataclass(frozen=True)
class Answer:
    """Status, header lines (each ended by CRLF) and the body in parts."""

    status: int = 200
    headers: bytes = JSON_TYPE
    parts: Sequence[Buffer] = field(default=())
    length: int = 0
    """Bytes of all parts together."""


def json_answer(content: object, status: int = 200, *, headers: bytes = b"") -> Answer:
    """An answer of one JSON document. Raises ValueError when it holds NaN or infinity."""
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return Answer(status, headers + JSON_TYPE, (body,), len(body))


def error_answer(refusal: Refusal, path: str) -> Answer:
    """An error in the words of the API that was asked: the Open Inference Protocol's, or ours."""
    error: object = refusal.message
    if not path.startswith("/v2"):
        code = HTTPStatus(refusal.status).phrase.lower().replace(" ", "_")
        error = {"code": code, "message": refusal.message}
    return json_answer({"error": error}, refusal.status, headers=refusal.headers)
