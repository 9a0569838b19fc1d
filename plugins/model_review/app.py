"""The review room's FastAPI app. Everything it leans on comes in; `model_review_plugin` wires the real things.

app = create_app(room, identity=airflow_identity)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from model_review import api, decisions, errors, evidence_routes, pages
from model_review.auth import Identity
from model_review.rendering import SECURITY_HEADERS
from model_review.room import Room

IdentityOf = Callable[..., Any]
"""A FastAPI dependency that returns an `Identity`, or raises HTTPException 401 or 403."""


def create_app(room: Room, *, identity: IdentityOf) -> FastAPI:
    """Make the app.

    Args:
        room: Services, wake-up, form tokens and the check for a fresh sign-in.
        identity: Who is asking. Runs before every route, without exception.
    """
    asking = Depends(identity)

    async def authenticated(request: Request, who: Identity = asking) -> None:
        request.state.identity = who

    # The generated documentation routes would stand outside the dependency; `api/openapi.json` is ours.
    app = FastAPI(
        title="Model reviews",
        dependencies=[Depends(authenticated)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.room = room
    app.include_router(decisions.router)
    app.include_router(pages.router)
    app.include_router(evidence_routes.router)
    app.include_router(api.router, prefix="/api")
    app.add_api_route("/healthz", api.health, methods=["GET"])
    errors.install(app)

    @app.middleware("http")
    async def harden(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app
