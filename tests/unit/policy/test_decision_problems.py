"""A signed decision held against the facts once more, right before it deploys something."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model_approval.domain.digests import sha256_of
from model_approval.domain.promotion import Promotion
from model_approval.domain.review import Decision
from model_approval.policy.decide import decision_problems
from model_approval.policy.schema import FrozenPolicy
from tests.support.builders import (
    NOW,
    a_candidate,
    a_decision,
    a_frozen_policy,
    a_manifest,
    a_payload,
    a_policy,
    a_promotion,
    a_request,
    a_waiver,
    an_outcome,
    passed_outcomes,
)

pytestmark = [pytest.mark.unit, pytest.mark.proof, pytest.mark.governance]

OTHER = sha256_of(b"something else")
SLOW = an_outcome(verdict="failed")


def problems(
    decision: Decision,
    promotion: Promotion | None = None,
    *,
    frozen: FrozenPolicy | None = None,
    after: timedelta = timedelta(),
) -> str:
    found = decision_problems(
        frozen or a_frozen_policy(), promotion or a_promotion(state="approved"), decision, now=NOW + after
    )
    return "; ".join(found)


def signed_by(*people: tuple[str, str], **changes: object) -> Decision:
    """A decision with other signatories."""
    template = a_decision().signatories[0].model_dump()
    return a_decision(
        signatories=tuple({**template, "subject": name, "role": role, **changes} for name, role in people)
    )


@pytest.mark.parametrize("state", ["approved", "deploying"])
def test_a_good_decision_has_no_problems(state):
    assert problems(a_decision(), a_promotion(state=state)) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"request_id": "pr-another"}, "about another request: pr-another"),
        ({"model": "churn-scorer"}, "about another model: churn-scorer, not fraud-scorer"),
        ({"version": "8"}, "about another version: 8, not 7"),
        ({"environment": "staging"}, "about another environment: staging, not production"),
        ({"target": "cluster"}, "about another target: cluster, not local"),
        ({"artifact_digest": OTHER}, f"about another artifact: {OTHER}"),
        ({"policy_digest": OTHER}, f"about another policy: {OTHER}"),
        ({"evidence_digest": OTHER}, f"about another evidence: {OTHER}"),
        ({"outcome": "rejected"}, "the decision is rejected, not approved"),
        ({"outcome": "remediation_requested"}, "the decision is remediation requested, not approved"),
        ({"valid_until": NOW}, "the approval was valid until 2026-06-01 12:00 UTC"),
        ({"decided_at": NOW + timedelta(hours=1)}, "is dated 2026-06-01 13:00 UTC, in the future"),
        ({"signatories": ()}, "the quorum asks for 1 of security; 0 signed"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_decision_that_says_something_else_is_refused(changes, words):
    assert words in problems(a_decision(**changes))


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (signed_by(("ana", "security")), "the quorum asks for 1 of ml-manager; 0 signed"),
        (signed_by(("ana", "security"), ("ana", "ml-manager")), "ana signed more than once"),
        (signed_by(("ana", "security"), ("ana", "ml-manager")), "ana may not vote as ml-manager"),
        (signed_by(("rita", "security"), ("max", "ml-manager")), "rita requested or made this model version"),
        (signed_by(("vera", "security"), ("max", "ml-manager")), "vera may not vote as security"),
        (signed_by(("max", "security"), ("ana", "ml-manager")), "max may not vote as security"),
        (
            signed_by(("ana", "security"), ("max", "ml-manager"), meaning="rejected"),
            "ana rejected, which is no approval",
        ),
        (
            signed_by(("ana", "security"), ("max", "ml-manager"), cast_at=NOW + timedelta(hours=1)),
            "ana voted after the decision",
        ),
        (
            signed_by(("ana", "security"), ("max", "ml-manager"), cast_at=NOW + timedelta(hours=121)),
            "ana voted after the review's deadline",
        ),
    ],
)
def test_signatories_that_do_not_make_a_quorum_are_refused(decision, words):
    assert words in problems(decision)


@pytest.mark.parametrize("name", ["ana", "max"])
def test_a_signatory_who_made_the_model_is_refused(name):
    request = a_request(payload=a_payload(contributors=(name,)))
    promotion = a_promotion(state="approved", request=request)
    assert f"{name} requested or made this model version" in problems(a_decision(promotion), promotion)


def test_an_owner_who_signed_is_refused():
    promotion = a_promotion(state="approved", candidate=a_candidate(owner="max"))
    assert "max requested or made this model version" in problems(a_decision(), promotion)


def test_an_approval_ends_when_it_said_it_would():
    last = timedelta(hours=72) - timedelta(microseconds=1)
    assert problems(a_decision(), after=last) == ""
    assert "was valid until" in problems(a_decision(), after=timedelta(hours=72))


def test_clocks_that_differ_by_seconds_do_no_harm():
    assert problems(a_decision(), after=timedelta(seconds=-30)) == ""


def test_a_candidate_whose_manifest_was_edited_is_refused():
    edited = a_candidate().model_copy(update={"manifest": a_manifest({"model.onnx": b"edited"})})
    found = problems(a_decision(), a_promotion(state="approved", candidate=edited))
    assert "about another artifact" in found
    assert "about another pinned artifact" in found


def test_a_promotion_without_candidate_is_refused():
    assert "not nothing" in problems(a_decision(), a_promotion(state="approved", candidate=None))


def test_a_softened_policy_is_refused():
    softened = a_frozen_policy(
        policy=a_policy(review={"committee": "model-risk", "quorum": ({"role": "security", "votes": 1},)})
    )
    assert "about another frozen policy" in problems(a_decision(), frozen=softened)


def test_outcomes_that_do_not_allow_it_are_refused():
    promotion = a_promotion(state="approved", check_outcomes=(*passed_outcomes()[:2], SLOW))
    assert "the evidence does not allow it: Blocked: p99 latency" in problems(a_decision(), promotion)


def test_a_waiver_inside_the_decision_makes_up_for_a_failed_rule():
    promotion = a_promotion(state="approved", check_outcomes=(*passed_outcomes()[:2], SLOW))
    assert problems(a_decision(promotion, waivers=(a_waiver(promotion),)), promotion) == ""


@pytest.mark.parametrize(
    "changes", [{"expires_at": NOW}, {"granted_by": "rita"}, {"evidence_digest": OTHER}, {"rule": "another"}], ids=str
)
def test_a_waiver_that_does_not_stand_makes_up_for_nothing(changes):
    promotion = a_promotion(state="approved", check_outcomes=(*passed_outcomes()[:2], SLOW))
    decision = a_decision(promotion, waivers=(a_waiver(promotion, **changes),))
    assert "the evidence does not allow it" in problems(decision, promotion)


def test_every_problem_is_told_not_only_the_first():
    found = problems(a_decision(model="churn-scorer", outcome="expired", valid_until=NOW, signatories=()))
    assert found.count(";") >= 4
