"""The signed decision: written once, and read back only through its signature."""

from __future__ import annotations

from model_approval.domain.attestation import Envelope, decision_from, decision_statement
from model_approval.domain.audit import Action, Actor
from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import IntegrityError
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.review import Decision
from model_approval.ports import Services
from model_approval.stages.progress import Step, publish, write

_ACTOR = Actor.service("review")


def sign_decision(services: Services, promotion: Promotion, decision: Decision) -> Promotion:
    """Sign a decision, record it, store it with the promotion's new state, and show it in the registry.

    Raises:
        DecisionError: (conflict) another decision was stored first, or the promotion moved on.
    """
    envelope = services.signer.sign(decision_statement(decision).to_bytes())
    digest = decision_digest(envelope)
    following = promotion.moved(PromotionState(decision.outcome), at=services.clock(), reason=decision.reason[:4000])
    step = Step(
        Action.DECISION_SIGNED,
        _ACTOR,
        decision.reason,
        subjects={"decision": digest, "evidence": decision.evidence_digest},
        details={"outcome": decision.outcome, "by": [signatory.subject for signatory in decision.signatories]},
    )
    # Keyed by its digest: whatever is stored in the end, after a crash or a race, is named in the log.
    write(services, promotion, step, key=digest, state=following.state)
    services.reviews.put_decision(promotion.id, envelope, following)
    publish(services, following)
    return following


def decision_digest(envelope: Envelope) -> str:
    """Names a signed decision: the digest of its signed payload."""
    return sha256_of(envelope.payload_bytes)


def signed_decision(services: Services, *, request_id: str) -> Decision | None:
    """The decision, from its verified envelope alone.

    Raises:
        IntegrityError: The envelope is not signed by a trusted key, or is about another request.
    """
    envelope = services.reviews.decision(request_id)
    if envelope is None:
        return None
    decision = decision_from(services.verifier.verify(envelope))
    if decision.request_id != request_id:
        raise IntegrityError(f"the decision stored for {request_id} is about {decision.request_id}")
    return decision
