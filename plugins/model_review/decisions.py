"""The forms: show one act as a page of its own, perform it, and never lose what somebody typed.

With the script, the same forms open as dialogs on the request page; without it, the buttons are links to here.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool as in_thread
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from model_approval.domain.errors import DecisionError, Denial, ModelApprovalError, NotFoundError
from model_approval.domain.promotion import Promotion
from model_approval.domain.request import Channel
from model_approval.ports import Services
from model_approval.stages import request as requests
from model_approval.stages import review
from model_review import forms
from model_review.auth import CHANGES, DECIDES, Identity, Me
from model_review.errors import status_of
from model_review.forms import Act, Sent
from model_review.presenters import build_request, what_changed
from model_review.rendering import render, up
from model_review.room import TheRoom, TheServices

router = APIRouter()


@router.get("/requests/new")
def show_new(request: Request, services: TheServices) -> Response:
    """The form for a new request."""
    return _new_page(request, services, {**dict.fromkeys(forms.NEW_FIELDS, ""), **_prefilled(request)})


@router.post("/requests/new", dependencies=[CHANGES])
async def submit_new(request: Request, me: Me, services: TheServices) -> Response:
    """Ask for a promotion, in the name of who is signed in."""
    form = await request.form()
    return await in_thread(_submit, request, me, services, forms.read_new(form))


def _submit(request: Request, me: Identity, services: Services, fields: dict[str, str]) -> Response:
    try:
        promotion = requests.submit(
            services,
            registry=fields["registry"],
            model=fields["model"],
            version=fields["version"],
            payload_json=forms.payload_json(fields, me.subject),
            channel=Channel.PAGE,
        )
    except ModelApprovalError as err:
        return _new_page(request, services, fields, error=err)
    return RedirectResponse(f"{up(request)}requests/{promotion.id}", status_code=303)


def _new_page(
    request: Request, services: Services, fields: dict[str, str], *, error: ModelApprovalError | None = None
) -> Response:
    return render(
        request,
        "new.html",
        status=status_of(error) if error else 200,
        fields=fields,
        error=error,
        registries=sorted(services.registries),
        environments=sorted({frozen.policy.match.environment for frozen in services.policies.all()}),
        problems=services.policies.problems(),
    )


def _prefilled(request: Request) -> dict[str, str]:
    return {name: value[:500] for name, value in request.query_params.items() if name in forms.NEW_FIELDS}


@router.get("/requests/{request_id}/act/{name}")
def show_act(request: Request, me: Me, services: TheServices, request_id: str, name: str, rule: str = "") -> Response:
    """One act as a page."""
    view = build_request(services, me.subject, request_id)
    return render(request, "act.html", view=view, act=_act(name), sent=Sent(rule=rule), error=None, changed=())


@router.post("/requests/{request_id}/act/{name}", dependencies=[DECIDES])
async def perform_act(request: Request, me: Me, room: TheRoom, request_id: str, name: str) -> Response:
    """Do it, wake the waiting task, and lead back to the request."""
    sent = forms.read_sent(await request.form())
    return await in_thread(_perform, request, me, room, request_id, _act(name), sent)


def _perform(request: Request, me: Identity, room: TheRoom, request_id: str, act: Act, sent: Sent) -> Response:
    services = room.services()
    try:
        with room.deciding(request_id):
            _call(services, me, request_id, act, sent)
    except DecisionError as err:
        view = build_request(services, me.subject, request_id)
        changed = what_changed(view.dossier, sent.seen) if err.denial is Denial.CONFLICT else ()
        return render(
            request, "act.html", status=status_of(err), view=view, act=act, sent=sent, error=err, changed=changed
        )
    return RedirectResponse(f"{up(request)}requests/{request_id}?done={act.name}", status_code=303)


def _call(services: Services, me: Identity, request_id: str, act: Act, sent: Sent) -> Promotion:
    """The use case behind an act."""
    subject = me.subject
    if act.choice is not None:
        ballot = forms.ballot(sent, act.choice, me.authentication)
        return review.cast_vote(services, request_id=request_id, reviewer=subject, ballot=ballot, seen=sent.seen)
    match act.name:
        case "withdraw-vote":
            return review.withdraw_vote(services, request_id=request_id, reviewer=subject)
        case "withdraw-request":
            return review.withdraw_request(services, request_id=request_id, subject=subject, reason=sent.reason)
        case "waive":
            return review.grant_waiver(
                services,
                request_id=request_id,
                rule=sent.rule,
                reason=sent.reason,
                subject=subject,
                days=forms.days(sent),
                seen=sent.seen,
            )
        case "expedite":
            return review.expedite(services, request_id=request_id, subject=subject, reason=sent.reason)
        case _:
            raise NotFoundError(f"nothing can be done called {act.name!r}")


def _act(name: str) -> Act:
    if name not in forms.ACTS:
        raise NotFoundError(f"nothing can be done called {name!r}")
    return forms.ACTS[name]
