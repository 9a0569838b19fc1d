"""The model server's HTTP side: authentication, limits, and the promised headers on every answer."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_approval.domain.deployment import ServingConfig
from model_approval.validators.contract import plain_line
from model_approval.validators.onnx_session import OpenModel
from model_approval.validators.server_codec import InputError, OutputError, decode_inputs, encode_outputs

_BODY_TIMEOUT_S = 30.0
_AT_ONCE = 4
"""Requests that run the model at the same time; others wait their turn."""


class PromisedHeaders:
    """Outermost layer: sets the serving configuration's headers on whatever the rest answers, errors included."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app, self._headers = app, dict(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; add the headers when the answer starts."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _Endpoints:
    def __init__(self, model: OpenModel, serving: ServingConfig, artifact_digest: str, token: str | None) -> None:
        self._model, self._serving, self._digest = model, serving, artifact_digest
        self._token = token.encode() if token else None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def health(self, request: Request) -> JSONResponse:
        """Ready: this process listens only once the model is loaded. Needs no token, so that probes hold none."""
        return JSONResponse({"status": "ready", "artifact_digest": self._digest, "device": self._model.device})

    async def predict(self, request: Request) -> JSONResponse:
        """Run the model on the inputs of the body."""
        self._authenticate(request)
        body = await self._body(request)
        try:
            inputs = await run_in_threadpool(decode_inputs, body, self._model.inputs)
        except InputError as err:
            raise HTTPException(err.status, plain_line(str(err))) from err
        async with self._turns:
            outputs = await run_in_threadpool(self._run, inputs)
        return JSONResponse({"outputs": outputs, "artifact_digest": self._digest})

    def _run(self, inputs: Mapping[str, object]) -> dict[str, object]:
        try:
            values = self._model.session.run(None, inputs)
        except Exception as err:  # onnxruntime's errors share no base class; shapes it alone can judge end here
            raise HTTPException(
                422, f"the model does not take these inputs: {plain_line(str(err), limit=300)}"
            ) from err
        try:
            return encode_outputs(self._model.outputs, values)
        except OutputError as err:
            raise HTTPException(500, str(err)) from err

    def _authenticate(self, request: Request) -> None:
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Headers are decoded as latin-1. Comparing bytes in constant time tells nothing about the token.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            raise HTTPException(401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"})

    async def _body(self, request: Request) -> bytes:
        limit = self._serving.max_body_bytes
        too_large = HTTPException(413, f"the body may have {limit} bytes at most")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                async for block in request.stream():
                    body += block
                    if len(body) > limit:
                        raise too_large
        except TimeoutError as err:
            raise HTTPException(408, f"the body did not arrive within {_BODY_TIMEOUT_S:g} s") from err
        return bytes(body)


def _refused(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, HTTPException)
    code = HTTPStatus(err.status_code).phrase.lower().replace(" ", "_")
    return JSONResponse({"error": {"code": code, "message": err.detail}}, err.status_code, err.headers)


def _broken(request: Request, err: Exception) -> JSONResponse:
    return JSONResponse({"error": {"code": "internal_server_error", "message": "the server failed; see its log"}}, 500)


def make_app(model: OpenModel, serving: ServingConfig, *, artifact_digest: str, token: str | None) -> ASGIApp:
    """The application around a loaded model."""
    endpoints = _Endpoints(model, serving, artifact_digest, token)
    routes = [
        Route("/healthz", endpoints.health, methods=["GET"]),
        Route("/v1/predict", endpoints.predict, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _broken})
    return PromisedHeaders(app, serving.headers)
