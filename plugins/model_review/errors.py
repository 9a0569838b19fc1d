"""Every error as an answer: the same code, message and hint, as a page for people and as JSON for programs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response

from model_approval.domain.errors import (
    DecisionError,
    Denial,
    IntegrityError,
    ModelApprovalError,
    NotFoundError,
    OutsideSystemError,
    RequestRefusedError,
)
from model_review.rendering import SECURITY_HEADERS, render, route_path

log = logging.getLogger(__name__)

_DENIALS = {Denial.FORBIDDEN: 403, Denial.CONFLICT: 409, Denial.INVALID: 422}
_STATUSES: tuple[tuple[type[ModelApprovalError], int], ...] = (
    (NotFoundError, 404),
    (RequestRefusedError, 422),
    (IntegrityError, 409),
    (OutsideSystemError, 503),
)
_TITLES = {
    401: "You are signed out",
    403: "Not allowed",
    404: "Not found",
    409: "Something changed",
    422: "Something is missing",
    503: "A system is out of reach",
}


def status_of(error: ModelApprovalError) -> int:
    """The HTTP status that says what kind of no this is."""
    if isinstance(error, DecisionError):
        return _DENIALS[error.denial]
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def answer(request: Request, status: int, *, code: str, message: str, hint: str = "") -> Response:
    """One error, in the form its reader wants."""
    if route_path(request).startswith(("/api/", "/healthz")):
        return JSONResponse({"code": code, "message": message, "hint": hint}, status_code=status)
    title = _TITLES.get(status, "Something broke")
    return render(request, "message.html", status=status, title=title, message=message, hint=hint, code=code)


async def _ours(request: Request, error: ModelApprovalError) -> Response:
    status = status_of(error)
    if status >= 500:
        log.warning("%s %s: %s", request.method, route_path(request), error)
    return answer(request, status, code=error.code, message=error.message, hint=error.hint)


async def _http(request: Request, error: StarletteHTTPException) -> Response:
    hint = "Reload Airflow and sign in again." if error.status_code == 401 else ""
    return answer(request, error.status_code, code=f"HTTP-{error.status_code}", message=str(error.detail), hint=hint)


async def _unreadable(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return answer(request, 422, code="MA-5001", message=f"{where}: {first['msg']}" if where else str(first["msg"]))


async def _unexpected(request: Request, error: Exception) -> Response:
    """The outer edge: logged once, with no detail for the reader."""
    log.exception("%s %s broke", request.method, route_path(request), exc_info=error)
    hint = "Nothing was decided. Try again; if it stays, an administrator finds the cause in the API server's log."
    response = answer(request, 500, code="MA-0000", message="this page broke", hint=hint)
    response.headers.update(SECURITY_HEADERS)  # this handler runs outside the app's own middleware
    return response


def install(app: FastAPI) -> None:
    """Let the app answer its errors."""
    handlers: dict[type[Exception], Callable[..., object]] = {
        ModelApprovalError: _ours,
        HTTPException: _http,
        StarletteHTTPException: _http,
        RequestValidationError: _unreadable,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]  # starlette types handlers by the base class
