"""Who is asking, and whether they meant to: identity, same-origin check, form tokens, fresh sign-in.

Airflow adds no authentication to plugin apps and has no CSRF token, only a `SameSite=Lax` cookie. So every route
depends on `authenticated` (app-wide), and every route that changes something on `intended`.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from model_approval.domain.errors import DecisionError, Denial

FORM_TOKEN_FIELD = "form_token"  # noqa: S105 - a field's name
HEADER = "x-requested-with"
HEADER_VALUE = "model-review"
FORM_TOKEN_MAX_AGE_S = 12 * 3600
"""A page left open over a working day can still be sent; one from last week cannot."""

SESSION = "airflow-session"
TOKEN = "airflow-token"  # noqa: S105 - how somebody signed in, not a secret


@dataclass(frozen=True)
class Identity:
    """Who is asking, as Airflow's auth manager knows them."""

    subject: str
    """What committee files and requests name: the auth manager's user name."""
    name: str
    email: str | None = None
    authentication: str = SESSION
    """`airflow-session` (cookie, the pages) or `airflow-token` (`Authorization: Bearer`, programs)."""


def current_identity(request: Request) -> Identity:
    """Who is asking; set by the app-wide dependency, so a route that skipped it breaks instead of opening."""
    identity: Identity = request.state.identity
    return identity


Me = Annotated[Identity, Depends(current_identity)]


@dataclass(frozen=True)
class FormTokens:
    """Ties a form to the person it was shown to, with nothing to store."""

    secret: bytes
    clock: Callable[[], float] = time.time

    def issue(self, subject: str) -> str:
        """A token for one person, good for FORM_TOKEN_MAX_AGE_S."""
        return self._sign(subject, str(int(self.clock())))

    def accepts(self, token: str, subject: str) -> bool:
        """Whether this token was issued to this person, lately."""
        issued, _, _ = token.partition(".")
        if not issued.isascii() or not issued.isdigit() or len(issued) > 12:
            return False
        if not 0 <= self.clock() - int(issued) <= FORM_TOKEN_MAX_AGE_S:
            return False
        return hmac.compare_digest(token.encode(), self._sign(subject, issued).encode())

    def _sign(self, subject: str, issued: str) -> str:
        message = f"model-review-form\0{issued}\0{subject}".encode()
        return f"{issued}.{hmac.new(self.secret, message, hashlib.sha256).hexdigest()}"


def require_same_origin(request: Request) -> None:
    """Refuse a request that another site made the browser send.

    A bearer token is never sent by a browser on its own, so programs that carry one need no origin.

    Raises:
        DecisionError: (forbidden) Sent from elsewhere, or by a browser that does not say from where.
    """
    if request.state.identity.authentication == TOKEN:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise _not_ours(f"it was sent from another site ({site})")
        return
    # Browsers send no Sec-Fetch-Site to plain-http hosts other than localhost; Origin they always send on POST.
    origin = request.headers.get("origin")
    if not origin or urlsplit(origin).netloc != request.headers.get("host"):
        raise _not_ours(f"its origin is {origin or 'not stated'}")


async def require_intent(request: Request) -> None:
    """Refuse a change that did not come from our own form or from a program that says it means us.

    Raises:
        DecisionError: (forbidden) No form token of this person, and not the header `X-Requested-With: model-review`.
    """
    require_same_origin(request)
    identity: Identity = request.state.identity
    if identity.authentication == TOKEN or request.headers.get(HEADER) == HEADER_VALUE:
        return
    # A JSON body is no form: asking for its token would read the body as one.
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    token = (await request.form()).get(FORM_TOKEN_FIELD) if is_form else None
    tokens: FormTokens = request.app.state.room.tokens
    if not isinstance(token, str) or not tokens.accepts(token, identity.subject):
        raise _not_ours("the form's token is missing or too old")


def _not_ours(why: str) -> DecisionError:
    return DecisionError(
        f"this change was not accepted: {why}",
        denial=Denial.FORBIDDEN,
        hint="open the request in Airflow and send it from there",
    )


@dataclass(frozen=True)
class Mutation:
    """What a route that changes something asks for; declared on the route, checked in one place."""

    step_up: bool = False
    """Whether the act is irreversible enough to need a fresh sign-in."""

    async def __call__(self, request: Request) -> None:
        """Check intent, then freshness."""
        await require_intent(request)
        if self.step_up:
            request.app.state.room.step_up(request.state.identity)


StepUp = Callable[[Identity], None]
"""Raises DecisionError (forbidden) when the last sign-in is too old for an irreversible act."""


def no_step_up(identity: Identity) -> None:
    """Accept the session as it is."""


CHANGES = Depends(Mutation())
DECIDES = Depends(Mutation(step_up=True))
