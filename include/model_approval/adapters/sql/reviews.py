"""The `ReviewStore` on a SQL database (SQLite or Postgres).

Each method is one transaction. Whoever changes a promotion or anything that hangs on it locks the promotion's row
first, then touches votes, then the decision: always in this order, so that two writers wait and never deadlock. On
SQLite the transaction's own lock does the same. What the guards check under the lock, constraints hold as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError as ConstraintError
from sqlalchemy.orm import Session

from model_approval.adapters.sql.engine import SYSTEM, transaction
from model_approval.adapters.sql.models import (
    DecisionRow,
    EvidenceRow,
    PolicyRow,
    PromotionRow,
    VoteRow,
    WaiverRow,
)
from model_approval.adapters.sql.records import (
    decision_row,
    dump,
    envelope_of,
    evidence_of,
    evidence_row,
    policy_of,
    policy_row,
    promotion_columns,
    promotion_of,
    vote_of,
    vote_row,
    waiver_of,
    waiver_row,
)
from model_approval.domain.attestation import Envelope
from model_approval.domain.errors import NotFoundError, OutsideSystemError
from model_approval.domain.evidence import StoredEvidence
from model_approval.domain.guards import (
    guard_attempt,
    guard_awaits_people,
    guard_change,
    guard_first,
    guard_no_other_open,
    guard_vote,
    guard_waiver,
    no_standing_vote,
)
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.request import PromotionRequest
from model_approval.domain.review import Vote, Waiver
from model_approval.policy.schema import FrozenPolicy


class SqlReviewStore:
    """Requests, evidence, votes, waivers and decisions in a database. Connects at the first use, in each process."""

    def __init__(self, url: str) -> None:
        self._url = url

    def freeze_policy(self, policy: FrozenPolicy) -> None:
        """Keep a policy under its digest. Idempotent."""
        try:
            with transaction(self._url, writes=True) as session:
                if session.get(PolicyRow, policy.digest) is None:
                    session.add(policy_row(policy))
        except ConstraintError:
            return  # somebody else froze the same policy at the same moment

    def policy(self, digest: str) -> FrozenPolicy:
        """The frozen policy, its digest recomputed."""
        with transaction(self._url, writes=False) as session:
            row = session.get(PolicyRow, digest)
            if row is None:
                raise NotFoundError(f"no policy with digest {digest} was ever frozen")
            return policy_of(row)

    def add(self, request: PromotionRequest, *, at: datetime) -> Promotion:
        """Insert a request, or return the promotion that is there under its id."""
        promotion = Promotion(request=request, state_since=at)
        try:
            with transaction(self._url, writes=True) as session:
                known = session.get(PromotionRow, request.id)
                if known is not None:
                    return promotion_of(known)
                guard_no_other_open(request, _open_one(session, request))
                session.add(PromotionRow(**promotion_columns(promotion)))
        except ConstraintError:
            return self._lost_the_race(request)
        return promotion

    def _lost_the_race(self, request: PromotionRequest) -> Promotion:
        """Say who was first: the same request, another open one, or a holder of the same attempt."""
        with transaction(self._url, writes=False) as session:
            known = session.get(PromotionRow, request.id)
            if known is not None:
                return promotion_of(known)
            guard_no_other_open(request, _open_one(session, request))
            holders = session.scalars(_of_version(request).where(PromotionRow.attempt == request.attempt))
            guard_attempt(request, ", ".join(row.id for row in holders))
            raise AssertionError("guard_attempt always raises")

    def get(self, request_id: str) -> Promotion:
        """The promotion of that id."""
        with transaction(self._url, writes=False) as session:
            return promotion_of(_promotion_row(session, request_id))

    def save(self, promotion: Promotion) -> None:
        """Replace the record if it follows the stored one directly."""
        try:
            with transaction(self._url, writes=True) as session:
                _replace(_locked(session, promotion.id), promotion)
        except ConstraintError as err:
            with transaction(self._url, writes=False) as session:
                guard_no_other_open(promotion.request, _open_one(session, promotion.request))
            raise OutsideSystemError(SYSTEM, f"{promotion.id} was refused by a constraint") from err

    def find(
        self,
        states: Sequence[PromotionState] | None = None,
        *,
        model: str | None = None,
        environment: str | None = None,
        limit: int = 1000,
    ) -> list[Promotion]:
        """Promotions by state, model and environment, newest request first."""
        query = select(PromotionRow).order_by(PromotionRow.created_at.desc(), PromotionRow.id).limit(limit)
        if states is not None:
            query = query.where(PromotionRow.state.in_([state.value for state in states]))
        if model is not None:
            query = query.where(PromotionRow.model == model)
        if environment is not None:
            query = query.where(PromotionRow.environment == environment)
        return self._promotions(query)

    def of_version(self, registry: str, model: str, version: str, environment: str) -> list[Promotion]:
        """All requests for one version and environment, oldest attempt first."""
        query = select(PromotionRow).filter_by(
            registry_name=registry, model=model, version=version, environment=environment
        )
        return self._promotions(query.order_by(PromotionRow.attempt))

    def deployed(self, model: str, environment: str) -> list[Promotion]:
        """Deployed promotions of a model in an environment, the latest deployment first."""
        query = select(PromotionRow).filter_by(model=model, environment=environment)
        query = query.where(PromotionRow.state == PromotionState.DEPLOYED.value)
        return self._promotions(query.order_by(PromotionRow.state_since.desc(), PromotionRow.id))

    def _promotions(self, query: Select[PromotionRow]) -> list[Promotion]:
        with transaction(self._url, writes=False) as session:
            return [promotion_of(row) for row in session.scalars(query)]

    def states_of(self, request_ids: Sequence[str]) -> dict[str, tuple[PromotionState, bool]]:
        """State and whether a decision is stored, for each known id; one query."""
        query = (
            select(PromotionRow.id, PromotionRow.state, DecisionRow.request_id)
            .outerjoin(DecisionRow, DecisionRow.request_id == PromotionRow.id)
            .where(PromotionRow.id.in_(request_ids))
        )
        with transaction(self._url, writes=False) as session:
            return {key: (PromotionState(state), decided is not None) for key, state, decided in session.execute(query)}

    def add_evidence(self, evidence: StoredEvidence) -> None:
        """Insert; the same again is ignored."""
        with transaction(self._url, writes=True) as session:
            _locked(session, evidence.request_id)
            known = session.get(EvidenceRow, (evidence.request_id, evidence.check, evidence.run))
            if known is None:
                session.add(evidence_row(evidence))
                return
            what = f"evidence of {evidence.check}, run {evidence.run}, of {evidence.request_id}"
            guard_first(what, differs=evidence_of(known) != evidence)

    def evidence(self, request_id: str) -> list[StoredEvidence]:
        """All runs of all checks, in order of check and run."""
        query = select(EvidenceRow).filter_by(request_id=request_id).order_by(EvidenceRow.check_name, EvidenceRow.run)
        with transaction(self._url, writes=False) as session:
            return [evidence_of(row) for row in session.scalars(query)]

    def evidence_runs(self, request_id: str) -> list[tuple[str, int]]:
        """Check and run of each, in the same order."""
        query = select(EvidenceRow.check_name, EvidenceRow.run).filter_by(request_id=request_id)
        with transaction(self._url, writes=False) as session:
            return [
                (check, run) for check, run in session.execute(query.order_by(EvidenceRow.check_name, EvidenceRow.run))
            ]

    def cast(self, vote: Vote) -> None:
        """Insert a vote if it fits what is current and is the reviewer's only one."""
        try:
            with transaction(self._url, writes=True) as session:
                promotion = promotion_of(_locked(session, vote.request_id))
                standing = session.scalar(_standing(vote.request_id).filter_by(reviewer=vote.reviewer))
                decided = _is_decided(session, vote.request_id)
                guard_vote(promotion, vote, decided=decided, has_voted=standing is not None)
                session.add(vote_row(vote))
        except ConstraintError:  # under the lock only the id can be taken
            guard_first(f"a vote with the id {vote.id}", differs=True)

    def withdraw_vote(self, request_id: str, reviewer: str, *, at: datetime) -> Vote:
        """Mark the reviewer's vote withdrawn and return it."""
        with transaction(self._url, writes=True) as session:
            promotion = promotion_of(_locked(session, request_id))
            guard_awaits_people(promotion, decided=_is_decided(session, request_id))
            row = session.scalar(_standing(request_id).filter_by(reviewer=reviewer))
            if row is None:
                raise no_standing_vote(request_id, reviewer)
            row.withdrawn_at = at
            return vote_of(row)

    def votes(self, request_id: str) -> list[Vote]:
        """Votes that stand, oldest first."""
        with transaction(self._url, writes=False) as session:
            rows = session.scalars(_standing(request_id).order_by(VoteRow.cast_at, VoteRow.id))
            return [vote_of(row) for row in rows]

    def grant(self, waiver: Waiver) -> None:
        """Insert a waiver on the current evidence; the same again is ignored."""
        with transaction(self._url, writes=True) as session:
            promotion = promotion_of(_locked(session, waiver.request_id))
            known = session.get(WaiverRow, waiver.id)
            if known is not None:
                guard_first(f"a waiver with the id {waiver.id}", differs=waiver_of(known) != waiver)
                return
            guard_waiver(promotion, waiver, decided=_is_decided(session, waiver.request_id))
            session.add(waiver_row(waiver))

    def waivers(self, request_id: str) -> list[Waiver]:
        """All waivers of a request, oldest first."""
        query = select(WaiverRow).filter_by(request_id=request_id).order_by(WaiverRow.granted_at, WaiverRow.id)
        with transaction(self._url, writes=False) as session:
            return [waiver_of(row) for row in session.scalars(query)]

    def put_decision(self, request_id: str, envelope: Envelope, promotion: Promotion) -> None:
        """Store decision and new record together; the same again is ignored, the first one stays."""
        with transaction(self._url, writes=True) as session:
            row = _locked(session, request_id)
            known = session.get(DecisionRow, request_id)
            if known is not None:
                differs = (known.record, row.record) != (dump(envelope), dump(promotion))
                guard_first(f"a decision on {request_id}", differs=differs)
                return
            _replace(row, promotion)
            session.add(decision_row(request_id, envelope))

    def decision(self, request_id: str) -> Envelope | None:
        """The signed decision, if there is one."""
        with transaction(self._url, writes=False) as session:
            row = session.get(DecisionRow, request_id)
            return envelope_of(row) if row else None


def _promotion_row(session: Session, request_id: str, *, lock: bool = False) -> PromotionRow:
    row = session.get(PromotionRow, request_id, with_for_update=lock or None)
    if row is None:
        raise NotFoundError(f"there is no promotion request {request_id}")
    return row


def _locked(session: Session, request_id: str) -> PromotionRow:
    """The promotion's row, locked for this transaction; always the first lock that is taken."""
    return _promotion_row(session, request_id, lock=True)


def _replace(row: PromotionRow, promotion: Promotion) -> None:
    guard_change(promotion_of(row), promotion)
    for name, value in promotion_columns(promotion).items():
        setattr(row, name, value)


def _of_version(request: PromotionRequest) -> Select[PromotionRow]:
    return select(PromotionRow).filter_by(
        registry_name=request.registry,
        model=request.model,
        version=request.version,
        environment=request.environment,
    )


def _open_one(session: Session, request: PromotionRequest) -> Promotion | None:
    row = session.scalar(_of_version(request).where(PromotionRow.is_open, PromotionRow.id != request.id))
    return promotion_of(row) if row else None


def _standing(request_id: str) -> Select[VoteRow]:
    return select(VoteRow).filter_by(request_id=request_id).where(VoteRow.withdrawn_at.is_(None))


def _is_decided(session: Session, request_id: str) -> bool:
    return session.scalar(select(DecisionRow.request_id).filter_by(request_id=request_id)) is not None
