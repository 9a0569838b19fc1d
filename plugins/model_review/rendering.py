"""Templates to answers: autoescaped HTML, links relative to the page, headers that keep hostile text inert."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model_review import words
from model_review.auth import FORM_TOKEN_FIELD, Identity
from model_review.forms import ACTS
from model_review.room import the_room
from model_review.standing import still_needed

SECURITY_HEADERS = {
    # Scripts, styles and images from here alone, nothing inline; only Airflow's own pages may frame us.
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'self'; form-action 'self'; base-uri 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _shown(value: object) -> object:
    """Every text that a template puts out, before it is escaped; markup of our own stays as it is."""
    return words.visible(value) if type(value) is str else value


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(words=words, acts=ACTS, token_field=FORM_TOKEN_FIELD, still_needed=still_needed)
_TEMPLATES.filters.update(short=words.short, size=words.size, listed=words.listed, number=words.number)


def route_path(request: Request) -> str:
    """The path below the app's own root, wherever it is mounted."""
    path, root = str(request.scope["path"]), str(request.scope.get("root_path", ""))
    return path.removeprefix(root) if root else path


def up(request: Request) -> str:
    """The relative way from this page to the app's root: every link starts with it, so any prefix works."""
    return "../" * (route_path(request).count("/") - 1) or "./"


def render(
    request: Request, template: str, *, status: int = 200, root: str | None = None, **content: object
) -> HTMLResponse:
    """Fill a template; a fragment says from where its links start, since it is shown inside another page."""
    identity: Identity | None = getattr(request.state, "identity", None)
    html = _TEMPLATES.get_template(template).render(
        me=identity,
        root=up(request) if root is None else root,
        form_token=the_room(request).tokens.issue(identity.subject) if identity else "",
        **content,
    )
    return HTMLResponse(html, status_code=status)
