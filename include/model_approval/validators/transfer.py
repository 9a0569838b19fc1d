"""HTTP with presigned URLs, by the standard library alone: bounded reads, no redirects, few retries.

A presigned URL is a capability: it appears in no message, log or exception of ours.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import IO
from urllib.parse import urlsplit

from model_approval.domain.errors import OutsideSystemError

_TIMEOUT_S = 60.0
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.5
_RETRYABLE = frozenset({408, 409, 425, 429})


def _opener() -> urllib.request.OpenerDirector:
    """Without the redirect handler: it would carry the capability, or fetch bytes, to a host that nobody chose."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def open_download(url: str) -> HTTPResponse:
    """Start a GET.

    Raises:
        OutsideSystemError: Anything but 200; `retryable` says whether another try may help.
    """
    return _send(_request(url))


def put_once(url: str, data: bytes, *, content_type: str, pause: Callable[[float], None] = time.sleep) -> None:
    """PUT an object that must not exist yet; the store refuses a second write.

    Tries again after server errors and lost connections. If a later try finds the object there, an earlier one of ours
    had arrived: whoever reads it checks what it says.

    Raises:
        OutsideSystemError: Refused, or no luck after five tries.
    """
    headers = {"If-None-Match": "*", "Content-Type": content_type}
    for attempt in range(_ATTEMPTS):
        try:
            _send(_request(url, data=data, headers=headers)).close()
            return
        except _HttpError as err:
            if err.status == 412 and attempt > 0:
                return
            if not err.retryable or attempt == _ATTEMPTS - 1:
                raise
        pause(_FIRST_PAUSE_S * 2**attempt)


def with_retries(action: Callable[[], None], *, pause: Callable[[float], None] = time.sleep) -> None:
    """Call an action until it succeeds or fails for good, at most five times, pausing longer each time."""
    for attempt in range(_ATTEMPTS):
        try:
            return action()
        except OutsideSystemError as err:
            if not err.retryable or attempt == _ATTEMPTS - 1:
                raise
        pause(_FIRST_PAUSE_S * 2**attempt)


class _HttpError(OutsideSystemError):
    def __init__(self, message: str, *, status: int, retryable: bool, hint: str = "") -> None:
        super().__init__("object store", message, retryable=retryable, hint=hint)
        self.status = status


def _request(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> urllib.request.Request:
    if urlsplit(url).scheme not in ("http", "https"):
        raise OutsideSystemError("object store", "a presigned URL must be http or https", retryable=False)
    method = "GET" if data is None else "PUT"
    return urllib.request.Request(url, data=data, method=method, headers=headers or {})  # noqa: S310  # checked above


def _send(request: urllib.request.Request) -> HTTPResponse:
    where = f"{request.get_method()} {urlsplit(request.full_url).path}"
    try:
        response: HTTPResponse = _opener().open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as err:
        with err:
            raise _answer_error(where, err.code, err) from None  # the original holds the URL
    except (urllib.error.URLError, HTTPException, OSError) as err:
        reason = err.reason if isinstance(err, urllib.error.URLError) else err
        raise _HttpError(f"{where}: {reason}", status=0, retryable=True) from None
    return response


def _answer_error(where: str, status: int, body: IO[bytes]) -> _HttpError:
    if status == 412:
        return _HttpError(f"{where}: refused, the object exists already", status=status, retryable=False)
    if 300 <= status < 400:
        return _HttpError(
            f"{where}: answered with a redirect ({status}), which is not followed", status=status, retryable=False
        )
    body.read(1024)
    hint = "the presigned URL may have expired" if status == 403 else ""
    return _HttpError(
        f"{where}: HTTP {status}", status=status, retryable=status >= 500 or status in _RETRYABLE, hint=hint
    )
