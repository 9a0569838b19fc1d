"""`request`, `status`, `queue`, `roll-back`: promotions from the command line."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

from model_approval.cli.output import ExitCode, JsonOption, print_fields, print_json, print_table
from model_approval.domain.errors import RequestRefusedError
from model_approval.domain.promotion import OPEN_STATES, Promotion, PromotionState
from model_approval.domain.request import Channel

_NO_STATES = frozenset(
    {
        PromotionState.REFUSED,
        PromotionState.REJECTED,
        PromotionState.REMEDIATION_REQUESTED,
        PromotionState.EXPIRED,
        PromotionState.WITHDRAWN,
        PromotionState.DEPLOYMENT_FAILED,
        PromotionState.ROLLED_BACK,
        PromotionState.REVOKED,
    }
)


def register(app: typer.Typer) -> None:
    """Put these commands at the top level."""
    app.command("request")(request)
    app.command("status")(status)
    app.command("queue")(queue)
    app.command("roll-back")(roll_back)


def request(
    model: str,
    version: str,
    environment: Annotated[str, typer.Option(help="Where the model shall serve, for example `production`.")],
    reason: Annotated[str, typer.Option(help="Why; reviewers read it first.")],
    registry: Annotated[str, typer.Option(help="Registry that holds the version.")] = "mlflow",
    requester: Annotated[str, typer.Option(help="Who asks; default: the login name.")] = "",
    payload: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file with further payload fields.")
    ] = None,
    as_json: bool = JsonOption,
) -> None:
    """Ask for the promotion of a registered model version."""
    from model_approval.stages.request import submit
    from model_approval.wiring import services

    fields = _payload_fields(payload) if payload else {}
    fields |= {"environment": environment, "reason": reason, "requester": requester or getpass.getuser()}
    promotion = submit(
        services(),
        registry=registry,
        model=model,
        version=version,
        payload_json=json.dumps(fields),
        channel=Channel.CLI,
    )
    _show(promotion, as_json=as_json)


def status(request_id: str, as_json: bool = JsonOption) -> None:
    """Where a promotion stands. Exit code: 0 approved, deployed or superseded, 1 a no, 3 still open."""
    from model_approval.wiring import services

    promotion = services().reviews.get(request_id)
    _show(promotion, as_json=as_json)
    if promotion.state in _NO_STATES:
        raise typer.Exit(ExitCode.NO)
    if promotion.state not in (PromotionState.DEPLOYED, PromotionState.APPROVED, PromotionState.SUPERSEDED):
        raise typer.Exit(ExitCode.COULD_NOT_TELL)


def queue(
    everything: Annotated[bool, typer.Option("--all", help="Ended promotions too.")] = False,
    as_json: bool = JsonOption,
) -> None:
    """Open promotions, soonest deadline first."""
    from model_approval.wiring import services

    found = services().reviews.find(None if everything else sorted(OPEN_STATES))
    # Without a deadline yet: behind those that have one.
    found.sort(key=lambda promotion: (promotion.review_deadline is None, str(promotion.review_deadline)))
    if as_json:
        print_json([_summary(promotion) for promotion in found])
        return
    columns = ("id", "model", "environment", "state", "requester", "expires", "why")
    rows = [
        (
            promotion.id,
            f"{promotion.request.model} {promotion.request.version}",
            promotion.request.environment,
            promotion.state,
            promotion.request.payload.requester,
            promotion.review_deadline or "-",
            promotion.state_reason[:160],
        )
        for promotion in found
    ]
    print_table(f"{len(rows)} promotion(s)", columns, rows)


def roll_back(
    request_id: str,
    reason: Annotated[str, typer.Option(help="Why; it goes into the audit log.")],
    revoke: Annotated[bool, typer.Option(help="Withdraw the approval too.")] = False,
    as_json: bool = JsonOption,
) -> None:
    """Take a deployed version out of service; the version before it serves again."""
    from model_approval.stages.deployment import roll_back as take_out
    from model_approval.wiring import services

    subject = getpass.getuser()
    _show(take_out(services(), request_id=request_id, subject=subject, reason=reason, revoke=revoke), as_json=as_json)


def _payload_fields(path: Path) -> dict[str, object]:
    try:
        fields = json.loads(path.read_bytes())
    except ValueError as err:
        raise RequestRefusedError(f"{path} is not JSON: {err}") from err
    if not isinstance(fields, dict):
        raise RequestRefusedError(f"{path} holds no JSON object", hint='write {"semantic_version": "1.4.0", ...}')
    return fields


def _show(promotion: Promotion, *, as_json: bool) -> None:
    if as_json:
        print_json(_summary(promotion))
    else:
        print_fields(_summary(promotion))


def _summary(promotion: Promotion) -> dict[str, object]:
    request, candidate = promotion.request, promotion.candidate
    return {
        "id": promotion.id,
        "state": promotion.state,
        "reason": promotion.state_reason,
        "registry": request.registry,
        "model": request.model,
        "version": request.version,
        "environment": request.environment,
        "requester": request.payload.requester,
        "policy": f"{request.policy_name}@{request.policy_digest}",
        "artifact_digest": candidate.artifact_digest if candidate else None,
        "evidence_digest": promotion.evidence_digest,
        "review_deadline": promotion.review_deadline,
        "since": promotion.state_since,
    }
