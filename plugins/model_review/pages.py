"""The pages. Each route parses, calls a use case, and renders; every fragment is part of a full page."""

from __future__ import annotations

import logging
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse
from starlette.responses import Response

from model_approval.domain.digests import digest_of
from model_approval.domain.errors import NotFoundError
from model_approval.stages.audit import export_stream
from model_review import forms, queue
from model_review.auth import Me
from model_review.documents import read_document
from model_review.presenters import RequestView, build_request, request_version
from model_review.rendering import render, up
from model_review.room import TheServices

log = logging.getLogger(__name__)
router = APIRouter()

_STATIC = Path(__file__).parent / "static"
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
UNCHANGED = 204


@router.get("/")
def show_queue(request: Request, me: Me, services: TheServices) -> Response:
    """The queue, filtered as the query string says."""
    content = queue.build_queue(services, me.subject, _filters(request))
    return render(
        request,
        "queue.html",
        queue=content,
        tabs=queue.TABS,
        ages=queue.AGES,
        problems=services.policies.problems(),
        version=_queue_version(content),
    )


@router.get("/queue/fragment")
def queue_fragment(request: Request, me: Me, services: TheServices, since: str = "") -> Response:
    """The queue's changing part; 204 when nothing changed since a version."""
    content = queue.build_queue(services, me.subject, _filters(request))
    version = _queue_version(content)
    if since == version:
        return Response(status_code=UNCHANGED)
    return render(request, "_queue.html", queue=content, tabs=queue.TABS, version=version, root="./")


@router.get("/run")
def show_run(request: Request, services: TheServices, run_id: str = "") -> Response:
    """The tab on a DAG run: leads to the request of the same id."""
    try:
        services.reviews.get(run_id)
    except NotFoundError:
        return render(
            request,
            "message.html",
            title="No model review here",
            message="This DAG run promotes no model version, so there is nothing to review.",
            hint="",
            code="",
        )
    return RedirectResponse(f"{up(request)}requests/{run_id}", status_code=303)


@router.get("/requests/{request_id}")
def show_request(request: Request, me: Me, services: TheServices, request_id: str, done: str = "") -> Response:
    """One request, whole."""
    view = build_request(services, me.subject, request_id)
    act = forms.ACTS.get(done)
    return render(
        request,
        "request.html",
        view=view,
        problems=services.policies.problems(),
        done=act.past if act else "",
        following=queue.next_for(services, me.subject, after=request_id) if act else None,
    )


@router.get("/requests/{request_id}/fragment")
def request_fragment(request: Request, me: Me, services: TheServices, request_id: str, since: str = "") -> Response:
    """The request's changing part; 204 when nothing changed since a version."""
    if since == request_version(services, request_id):
        return Response(status_code=UNCHANGED)
    view: RequestView = build_request(services, me.subject, request_id)
    # The browser puts this into the page one level higher, so links start from there.
    return render(request, "_request.html", view=view, root="../")


@router.get("/requests/{request_id}/documents/{kind}")
def show_document(request: Request, services: TheServices, request_id: str, kind: str) -> Response:
    """One document of the artifact, verified against its pinned digest."""
    promotion = services.reviews.get(request_id)
    page = read_document(services, promotion, kind)
    return render(request, "document.html", promotion=promotion, page=page)


@router.get("/requests/{request_id}/audit.jsonl")
def download_audit(services: TheServices, request_id: str) -> Response:
    """The request's audit stream as a bundle: `model-approval audit verify --bundle FILE` checks it without us."""
    services.reviews.get(request_id)
    headers = {"Content-Disposition": f'attachment; filename="audit-{request_id}.jsonl"'}
    return Response(export_stream(services.audit, request_id), media_type="application/x-ndjson", headers=headers)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Style sheet and scripts; the names are fixed, so a path cannot leave the folder."""
    file = next((file for file in _STATIC.iterdir() if file.name == name), None)
    if file is None or file.suffix not in _STATIC_TYPES:
        raise NotFoundError(f"no file {name!r}")
    return FileResponse(file, media_type=_STATIC_TYPES[file.suffix], headers={"Cache-Control": "private, no-cache"})


def _filters(request: Request) -> queue.Filters:
    chosen = {name: request.query_params.get(name, "")[:200] for name in queue.Filters.__dataclass_fields__}
    return queue.Filters(**{**chosen, "tab": chosen["tab"] if chosen["tab"] in queue.TABS else queue.MINE})


def _queue_version(content: queue.Queue) -> str:
    rows = [[row.promotion.id, row.promotion.record_version, row.votes, row.mine] for row in content.rows]
    return digest_of([rows, content.counts])[7:19]
