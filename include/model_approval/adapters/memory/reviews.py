"""A review store in dictionaries, with the guards of the real one and a lock in place of its transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import RLock

from model_approval.domain.attestation import Envelope
from model_approval.domain.errors import IntegrityError, NotFoundError
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


class MemoryReviewStore:
    """The `ReviewStore` port in memory. The dictionaries are open to tests that play the administrator."""

    def __init__(self) -> None:
        self._lock = RLock()
        self.policies: dict[str, FrozenPolicy] = {}
        self.promotions: dict[str, Promotion] = {}
        self.runs: dict[tuple[str, str, int], StoredEvidence] = {}
        self.standing: dict[tuple[str, str], Vote] = {}
        """(request id, reviewer) -> the vote that stands."""
        self.vote_ids: set[str] = set()
        self.granted: dict[str, Waiver] = {}
        self.decisions: dict[str, Envelope] = {}

    def freeze_policy(self, policy: FrozenPolicy) -> None:
        """Keep a policy under its digest. Idempotent."""
        self.policies.setdefault(policy.digest, policy)

    def policy(self, digest: str) -> FrozenPolicy:
        """The frozen policy, its digest recomputed."""
        if digest not in self.policies:
            raise NotFoundError(f"no policy with digest {digest} was ever frozen")
        policy = self.policies[digest]
        if policy.digest != digest:
            raise IntegrityError(f"the policy stored as {digest} has the digest {policy.digest}")
        return policy

    def add(self, request: PromotionRequest, *, at: datetime) -> Promotion:
        """Insert a request, or return the promotion that is there under its id."""
        with self._lock:
            if request.id in self.promotions:
                return self.promotions[request.id]
            same = self.of_version(request.registry, request.model, request.version, request.environment)
            guard_no_other_open(request, next((other for other in same if other.state.is_open), None))
            for other in same:
                if other.request.attempt == request.attempt:
                    guard_attempt(request, other.id)
            promotion = Promotion(request=request, state_since=at)
            self.promotions[request.id] = promotion
            return promotion

    def get(self, request_id: str) -> Promotion:
        """The promotion of that id."""
        if request_id not in self.promotions:
            raise NotFoundError(f"there is no promotion request {request_id}")
        return self.promotions[request_id]

    def save(self, promotion: Promotion) -> None:
        """Replace the record if it follows the stored one directly."""
        with self._lock:
            guard_change(self.get(promotion.id), promotion)
            self.promotions[promotion.id] = promotion

    def find(
        self,
        states: Sequence[PromotionState] | None = None,
        *,
        model: str | None = None,
        environment: str | None = None,
        limit: int = 1000,
    ) -> list[Promotion]:
        """Promotions by state, model and environment, newest request first."""
        found = self._where(
            lambda item: (
                (states is None or item.state in states)
                and model in (None, item.request.model)
                and environment in (None, item.request.environment)
            )
        )
        return sorted(found, key=lambda promotion: (-promotion.request.created_at.timestamp(), promotion.id))[:limit]

    def of_version(self, registry: str, model: str, version: str, environment: str) -> list[Promotion]:
        """All requests for one version and environment, oldest attempt first."""
        wanted = (registry, model, version, environment)
        found = self._where(
            lambda item: (
                (item.request.registry, item.request.model, item.request.version, item.request.environment) == wanted
            )
        )
        return sorted(found, key=lambda promotion: promotion.request.attempt)

    def deployed(self, model: str, environment: str) -> list[Promotion]:
        """Deployed promotions of a model in an environment, the latest deployment first."""
        found = self._where(
            lambda item: (
                item.state is PromotionState.DEPLOYED
                and (item.request.model, item.request.environment) == (model, environment)
            )
        )
        return sorted(found, key=lambda promotion: (-promotion.state_since.timestamp(), promotion.id))

    def _where(self, holds: Callable[[Promotion], bool]) -> list[Promotion]:
        with self._lock:
            return [promotion for promotion in self.promotions.values() if holds(promotion)]

    def states_of(self, request_ids: Sequence[str]) -> dict[str, tuple[PromotionState, bool]]:
        """State and whether a decision is stored, for each known id."""
        known = [key for key in request_ids if key in self.promotions]
        return {key: (self.promotions[key].state, key in self.decisions) for key in known}

    def add_evidence(self, evidence: StoredEvidence) -> None:
        """Insert; the same again is ignored."""
        with self._lock:
            self.get(evidence.request_id)
            known = self.runs.setdefault((evidence.request_id, evidence.check, evidence.run), evidence)
            what = f"evidence of {evidence.check}, run {evidence.run}, of {evidence.request_id}"
            guard_first(what, differs=known != evidence)

    def evidence(self, request_id: str) -> list[StoredEvidence]:
        """All runs of all checks, in order of check and run."""
        with self._lock:
            return [run for key, run in sorted(self.runs.items()) if key[0] == request_id]

    def evidence_runs(self, request_id: str) -> list[tuple[str, int]]:
        """Check and run of each, in the same order."""
        return [(item.check, item.run) for item in self.evidence(request_id)]

    def cast(self, vote: Vote) -> None:
        """Insert a vote if it fits what is current and is the reviewer's only one."""
        key = (vote.request_id, vote.reviewer)
        with self._lock:
            decided = vote.request_id in self.decisions
            guard_vote(self.get(vote.request_id), vote, decided=decided, has_voted=key in self.standing)
            guard_first(f"a vote with the id {vote.id}", differs=vote.id in self.vote_ids)
            self.standing[key] = vote
            self.vote_ids.add(vote.id)

    def withdraw_vote(self, request_id: str, reviewer: str, *, at: datetime) -> Vote:
        """Take the reviewer's vote away and return it."""
        with self._lock:
            guard_awaits_people(self.get(request_id), decided=request_id in self.decisions)
            if (request_id, reviewer) not in self.standing:
                raise no_standing_vote(request_id, reviewer)
            return self.standing.pop((request_id, reviewer))

    def votes(self, request_id: str) -> list[Vote]:
        """Votes that stand, oldest first."""
        with self._lock:
            found = [vote for key, vote in self.standing.items() if key[0] == request_id]
        return sorted(found, key=lambda vote: (vote.cast_at, vote.id))

    def grant(self, waiver: Waiver) -> None:
        """Insert a waiver on the current evidence; the same again is ignored."""
        with self._lock:
            promotion = self.get(waiver.request_id)
            if waiver.id in self.granted:
                guard_first(f"a waiver with the id {waiver.id}", differs=self.granted[waiver.id] != waiver)
                return
            guard_waiver(promotion, waiver, decided=waiver.request_id in self.decisions)
            self.granted[waiver.id] = waiver

    def waivers(self, request_id: str) -> list[Waiver]:
        """All waivers of a request, oldest first."""
        with self._lock:
            found = [waiver for waiver in self.granted.values() if waiver.request_id == request_id]
        return sorted(found, key=lambda waiver: (waiver.granted_at, waiver.id))

    def put_decision(self, request_id: str, envelope: Envelope, promotion: Promotion) -> None:
        """Store decision and new record together; the same again is ignored, the first one stays."""
        with self._lock:
            stored = self.get(request_id)
            if request_id in self.decisions:
                differs = (self.decisions[request_id], stored) != (envelope, promotion)
                guard_first(f"a decision on {request_id}", differs=differs)
                return
            guard_change(stored, promotion)
            self.promotions[request_id] = promotion
            self.decisions[request_id] = envelope

    def decision(self, request_id: str) -> Envelope | None:
        """The signed decision, if there is one."""
        return self.decisions.get(request_id)
