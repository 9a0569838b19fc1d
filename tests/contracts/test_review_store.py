"""The review store's promises, on the memory twin, SQLite and Postgres alike; then what only a database can break."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy

from model_approval.adapters.memory.reviews import MemoryReviewStore
from model_approval.adapters.memory.signing import MemorySigner
from model_approval.adapters.sql.engine import dispose, engine_for
from model_approval.adapters.sql.migrations import upgrade_database
from model_approval.adapters.sql.reviews import SqlReviewStore
from model_approval.domain.attestation import decision_statement
from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import (
    DecisionError,
    Denial,
    IntegrityError,
    NotFoundError,
    OutsideSystemError,
    RequestRefusedError,
)
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.ports import ReviewStore
from tests.support.builders import (
    NOW,
    a_decision,
    a_frozen_policy,
    a_missing_evidence,
    a_promotion,
    a_request,
    a_stored_evidence,
    a_vote,
    a_waiver,
    an_evidence,
)
from tests.support.databases import new_database

pytestmark = pytest.mark.contract

DATABASES = ["sqlite", "postgres"]
SIGNER = MemorySigner()


@pytest.fixture
def url(request, tmp_path):
    """A migrated database; the test's parameter names its kind."""
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path / 'reviews.sqlite'}"
    else:
        found = new_database(request.getfixturevalue("postgres_url"))
    upgrade_database(found)
    yield found
    dispose(found)


@pytest.fixture(params=["memory", *DATABASES])
def store(request, tmp_path):
    """An empty store."""
    if request.param == "memory":
        yield MemoryReviewStore()
        return
    found = f"sqlite:///{tmp_path / 'reviews.sqlite'}"
    if request.param == "postgres":
        found = new_database(request.getfixturevalue("postgres_url"))
    upgrade_database(found)
    yield SqlReviewStore(found)
    dispose(found)


on_databases = pytest.mark.parametrize("url", DATABASES, indirect=True)


def in_state(store: ReviewStore, state: PromotionState | str = PromotionState.IN_REVIEW, **request: Any) -> Promotion:
    """A stored promotion in a state, with all that the state implies."""
    added = store.add(a_request(**request), at=NOW)
    promotion = a_promotion(state=state, request=added.request, record_version=2)
    store.save(promotion)
    return promotion


def a_signed_decision(promotion: Promotion, **changes: object):
    return SIGNER.sign(decision_statement(a_decision(promotion, **changes)).to_bytes())


def decided(promotion: Promotion) -> Promotion:
    return promotion.moved(PromotionState.APPROVED, at=NOW)


# -------------------------------------------------------------------------------------------------- policies, requests


def test_the_store_is_a_review_store(store):
    typed: ReviewStore = store
    assert typed.find() == []


def test_a_frozen_policy_comes_back_under_its_digest(store):
    frozen = a_frozen_policy()
    store.freeze_policy(frozen)
    store.freeze_policy(frozen)
    assert store.policy(frozen.digest) == frozen
    assert store.policy(frozen.digest).digest == frozen.digest


def test_a_policy_that_was_never_frozen_is_not_found(store):
    with pytest.raises(NotFoundError, match="was ever frozen"):
        store.policy(sha256_of(b"nothing"))


def test_a_new_request_is_requested_at_the_time_it_came(store):
    promotion = store.add(a_request(), at=NOW)
    assert (promotion.state, promotion.state_since, promotion.record_version) == (PromotionState.REQUESTED, NOW, 1)
    assert store.get(promotion.id) == promotion


def test_the_same_request_again_gives_what_became_of_it(store):
    promotion = in_state(store)
    assert store.add(promotion.request, at=NOW + timedelta(hours=1)) == promotion


def test_a_second_open_request_for_the_same_version_is_refused_naming_the_first(store):
    first = in_state(store)
    with pytest.raises(RequestRefusedError, match=rf"already asked for by {first.id}, which is in_review"):
        store.add(a_request(attempt=2), at=NOW)


def test_the_same_version_may_be_open_for_another_environment(store):
    in_state(store)
    other = store.add(a_request(environment="staging"), at=NOW)
    assert other.state is PromotionState.REQUESTED


def test_a_resubmission_after_the_end_is_taken(store):
    first = in_state(store, PromotionState.REJECTED)
    second = store.add(a_request(attempt=2), at=NOW)
    found = store.of_version("mlflow", "fraud-scorer", "7", "production")
    assert found == [first, second]


def test_an_attempt_is_held_by_one_request(store):
    first = in_state(store, PromotionState.REJECTED)
    with pytest.raises(RequestRefusedError, match=rf"attempt 1 .* is taken by {first.id}"):
        store.add(a_request(id="pr-other"), at=NOW)


def test_an_unknown_request_is_not_found(store):
    with pytest.raises(NotFoundError, match="no promotion request pr-7"):
        store.get("pr-7")


def test_a_record_is_replaced_by_the_one_that_follows_it(store):
    promotion = in_state(store)
    blocked = promotion.moved(PromotionState.BLOCKED, at=NOW, reason="coverage is incomplete")
    store.save(blocked)
    assert store.get(promotion.id) == blocked


def test_a_writer_that_read_an_older_record_is_refused(store):
    promotion = in_state(store)
    store.save(promotion.moved(PromotionState.BLOCKED, at=NOW))
    with pytest.raises(DecisionError, match="changed meanwhile") as caught:
        store.save(promotion.moved(PromotionState.EXPIRED, at=NOW))
    assert caught.value.denial is Denial.CONFLICT
    assert store.get(promotion.id).state is PromotionState.BLOCKED


def test_what_was_asked_for_can_not_be_changed(store):
    promotion = in_state(store)
    other = promotion.request.model_copy(update={"policy_digest": sha256_of(b"a milder policy")})
    with pytest.raises(DecisionError, match="what was asked for can not be changed"):
        store.save(promotion.changed(request=other))


def test_promotions_are_found_by_state_newest_first(store):
    old = in_state(store, version="1", created_at=NOW - timedelta(hours=3))
    new = in_state(store, version="2", created_at=NOW - timedelta(hours=1))
    ended = in_state(store, PromotionState.REJECTED, version="3", created_at=NOW - timedelta(hours=2))
    assert store.find([PromotionState.IN_REVIEW]) == [new, old]
    assert store.find() == [new, ended, old]
    assert store.find(limit=1) == [new]
    assert store.find([]) == []
    asked = old.request
    assert store.find([PromotionState.REJECTED], model=asked.model, environment=asked.environment) == [ended]
    assert store.find(model=asked.model, limit=1) == [new]
    assert store.find(model="another-model") == store.find(environment="elsewhere") == []


def test_deployed_promotions_come_latest_deployment_first(store):
    later = in_state(store, PromotionState.DEPLOYING, version="1")
    first = in_state(store, PromotionState.DEPLOYED, version="2")
    later = later.moved(PromotionState.DEPLOYED, at=NOW + timedelta(hours=1))
    store.save(later)
    assert store.deployed("fraud-scorer", "production") == [later, first]
    assert store.deployed("fraud-scorer", "staging") == []


def test_states_tell_whether_a_decision_is_stored(store):
    waiting, done = in_state(store, version="1"), in_state(store, version="2")
    store.put_decision(done.id, a_signed_decision(done), decided(done))
    assert store.states_of([waiting.id, done.id, "pr-unknown"]) == {
        waiting.id: (PromotionState.IN_REVIEW, False),
        done.id: (PromotionState.APPROVED, True),
    }
    assert store.states_of([]) == {}


# ------------------------------------------------------------------------------------------------------------ evidence


def test_evidence_comes_back_in_order_of_check_and_run(store):
    in_state(store)
    second = a_missing_evidence(error="the pod was evicted", run=2)
    first, benchmark = a_stored_evidence(), a_stored_evidence(an_evidence("gpu_benchmark"))
    for item in (second, first, benchmark):
        store.add_evidence(item)
    assert store.evidence(first.request_id) == [benchmark, first, second]
    assert store.evidence_runs(first.request_id) == [(item.check, item.run) for item in (benchmark, first, second)]
    assert store.evidence_runs("nobody's") == []


def test_the_same_evidence_again_is_ignored(store):
    in_state(store)
    item = a_stored_evidence()
    store.add_evidence(item)
    store.add_evidence(item)
    assert store.evidence(item.request_id) == [item]


def test_other_evidence_for_the_same_run_is_a_conflict(store):
    in_state(store)
    store.add_evidence(a_stored_evidence())
    with pytest.raises(DecisionError, match=r"evidence of security_scan, run 1,.* stored already, and is not the same"):
        store.add_evidence(a_missing_evidence(error="no object came"))
    assert store.evidence(a_request().id) == [a_stored_evidence()]


def test_evidence_of_an_unknown_request_is_refused(store):
    with pytest.raises(NotFoundError):
        store.add_evidence(a_stored_evidence())


# --------------------------------------------------------------------------------------------------------------- votes


def test_votes_come_back_oldest_first(store):
    promotion = in_state(store)
    late, early = a_vote(promotion, by="ana"), a_vote(promotion, by="max", cast_at=NOW - timedelta(hours=2))
    store.cast(late)
    store.cast(early)
    assert store.votes(promotion.id) == [early, late]


def test_second_vote_of_the_same_reviewer_is_refused(store):
    promotion = in_state(store, id="pr-7")
    store.cast(a_vote(promotion, by="ana"))
    with pytest.raises(DecisionError, match="ana has already voted on pr-7") as caught:
        store.cast(a_vote(promotion, by="ana", id="vote-2", choice="reject", reason="on second thought"))
    assert caught.value.denial is Denial.CONFLICT
    assert [vote.choice for vote in store.votes("pr-7")] == ["approve"]


def test_two_votes_of_one_reviewer_at_once_give_one(store):
    promotion = in_state(store, id="pr-7")
    ballots = [a_vote(promotion, by="ana", id=f"vote-{number}") for number in range(6)]

    def refusal(vote):
        try:
            store.cast(vote)
        except DecisionError as err:
            return err.message
        return "taken"

    with ThreadPoolExecutor(6) as voters:
        outcomes = list(voters.map(refusal, ballots))
    assert sorted(outcomes) == ["ana has already voted on pr-7"] * 5 + ["taken"]
    assert len(store.votes("pr-7")) == 1


def test_a_reviewer_may_vote_again_after_withdrawing(store):
    promotion = in_state(store)
    first = a_vote(promotion, by="ana")
    store.cast(first)
    assert store.withdraw_vote(promotion.id, "ana", at=NOW) == first
    assert store.votes(promotion.id) == []
    second = a_vote(promotion, by="ana", id="vote-2")
    store.cast(second)
    assert store.votes(promotion.id) == [second]


def test_a_vote_id_is_used_once(store):
    promotion = in_state(store)
    store.cast(a_vote(promotion, by="ana", id="vote-1"))
    with pytest.raises(DecisionError, match="a vote with the id vote-1 is stored already"):
        store.cast(a_vote(promotion, by="max", id="vote-1"))


@pytest.mark.parametrize("what", ["artifact", "policy", "evidence"])
def test_a_vote_on_something_else_than_what_is_current_is_refused(store, what):
    promotion = in_state(store)
    stale = a_vote(promotion, **{f"{what}_digest": sha256_of(b"what was on the page before")})
    with pytest.raises(DecisionError, match=f"the {what} of {promotion.id} changed meanwhile") as caught:
        store.cast(stale)
    assert caught.value.denial is Denial.CONFLICT


def test_a_vote_that_races_with_new_evidence_is_refused(store):
    promotion = in_state(store)
    vote = a_vote(promotion)
    store.save(promotion.changed(evidence_digest=sha256_of(b"a re-run")))
    with pytest.raises(DecisionError, match=r"evidence of .* changed meanwhile"):
        store.cast(vote)


@pytest.mark.parametrize("state", ["rejected", "approved", "expired", "deployed"])
def test_a_vote_after_the_review_is_refused(store, state):
    promotion = in_state(store, state)
    with pytest.raises(DecisionError, match=f"is {state}: no review is going on"):
        store.cast(a_vote(promotion))


def test_a_vote_on_an_unknown_request_is_not_found(store):
    with pytest.raises(NotFoundError):
        store.cast(a_vote())


def test_withdrawing_without_a_vote_is_refused(store):
    promotion = in_state(store)
    with pytest.raises(DecisionError, match="ana has no vote"):
        store.withdraw_vote(promotion.id, "ana", at=NOW)


def test_withdrawing_after_the_decision_is_refused(store):
    promotion = in_state(store)
    store.cast(a_vote(promotion))
    store.put_decision(promotion.id, a_signed_decision(promotion), decided(promotion))
    with pytest.raises(DecisionError, match="already decided"):
        store.withdraw_vote(promotion.id, "ana", at=NOW)
    assert len(store.votes(promotion.id)) == 1


# ------------------------------------------------------------------------------------------------- waivers, decisions


def test_a_waiver_is_kept_once(store):
    promotion = in_state(store, PromotionState.BLOCKED)
    waiver = a_waiver(promotion)
    store.grant(waiver)
    store.grant(waiver)
    assert store.waivers(promotion.id) == [waiver]


def test_another_waiver_under_the_same_id_is_a_conflict(store):
    promotion = in_state(store, PromotionState.BLOCKED)
    store.grant(a_waiver(promotion))
    with pytest.raises(DecisionError, match="is stored already, and is not the same"):
        store.grant(a_waiver(promotion, reason="another reason"))


def test_a_waiver_on_stale_evidence_is_refused(store):
    promotion = in_state(store, PromotionState.BLOCKED)
    with pytest.raises(DecisionError, match=r"evidence of .* changed meanwhile"):
        store.grant(a_waiver(promotion, evidence_digest=sha256_of(b"before the re-run")))


def test_a_waiver_after_the_review_is_refused(store):
    promotion = in_state(store, PromotionState.REJECTED)
    with pytest.raises(DecisionError, match="no review is going on"):
        store.grant(a_waiver(promotion))


def test_a_decision_and_its_state_are_stored_together(store):
    promotion = in_state(store)
    assert store.decision(promotion.id) is None
    envelope = a_signed_decision(promotion)
    store.put_decision(promotion.id, envelope, decided(promotion))
    assert store.decision(promotion.id) == envelope
    assert store.get(promotion.id) == decided(promotion)


def test_the_same_decision_again_is_ignored(store):
    promotion = in_state(store)
    envelope = a_signed_decision(promotion)
    store.put_decision(promotion.id, envelope, decided(promotion))
    store.put_decision(promotion.id, envelope, decided(promotion))
    assert store.get(promotion.id) == decided(promotion)


def test_the_first_decision_stays(store):
    promotion = in_state(store)
    first = a_signed_decision(promotion)
    store.put_decision(promotion.id, first, decided(promotion))
    with pytest.raises(DecisionError, match=f"a decision on {promotion.id} is stored already"):
        store.put_decision(promotion.id, a_signed_decision(promotion, reason="another"), decided(promotion))
    assert store.decision(promotion.id) == first


def test_a_decision_on_a_record_that_moved_on_is_refused_and_not_stored(store):
    promotion = in_state(store)
    store.save(promotion.moved(PromotionState.BLOCKED, at=NOW))
    with pytest.raises(DecisionError, match="changed meanwhile"):
        store.put_decision(promotion.id, a_signed_decision(promotion), decided(promotion))
    assert store.decision(promotion.id) is None


def test_a_vote_after_the_decision_is_refused(store):
    promotion = in_state(store)
    store.put_decision(promotion.id, a_signed_decision(promotion), decided(promotion))
    with pytest.raises(DecisionError, match="already decided"):
        store.cast(a_vote(promotion))


# ----------------------------------------------------------------------------------------- what only a database breaks


def tamper(url: str, statement: str, **values: object) -> None:
    """What an administrator with a SQL prompt does."""
    with engine_for(url).begin() as connection:
        done = connection.execute(sqlalchemy.text(statement), values)
        assert done.rowcount == 1


@on_databases
def test_an_edited_policy_is_refused_naming_its_row(url):
    store, frozen = SqlReviewStore(url), a_frozen_policy()
    store.freeze_policy(frozen)
    tamper(
        url, "UPDATE mrm_policies SET record = replace(record, :before, :after)", before='"votes":1', after='"votes":2'
    )
    with pytest.raises(IntegrityError, match=rf"table mrm_policies, row {frozen.digest}: the column digest"):
        store.policy(frozen.digest)


@on_databases
def test_an_edited_vote_is_refused_naming_its_row(url):
    store = SqlReviewStore(url)
    promotion = in_state(store)
    store.cast(a_vote(promotion, choice="reject", reason="too slow", id="vote-1"))
    tamper(url, "UPDATE mrm_votes SET choice = 'approve', record = replace(record, 'reject', 'approve')")
    with pytest.raises(IntegrityError, match="table mrm_votes, row vote-1: the column digest"):
        store.votes(promotion.id)


@on_databases
def test_a_state_edited_in_its_column_alone_is_refused(url):
    store = SqlReviewStore(url)
    promotion = in_state(store)
    tamper(url, "UPDATE mrm_promotions SET state = 'approved'")
    with pytest.raises(IntegrityError, match=rf"table mrm_promotions, row {promotion.id}: the column state"):
        store.get(promotion.id)


@on_databases
def test_a_record_that_is_no_json_is_refused_naming_its_row(url):
    store = SqlReviewStore(url)
    promotion = in_state(store)
    tamper(url, "UPDATE mrm_promotions SET record = '{'")
    with pytest.raises(IntegrityError, match=rf"table mrm_promotions, row {promotion.id}: its record cannot be read"):
        store.get(promotion.id)


@on_databases
def test_a_record_of_a_later_release_is_refused(url):
    store = SqlReviewStore(url)
    promotion = in_state(store)
    tamper(url, "UPDATE mrm_promotions SET schema_version = 2")
    with pytest.raises(IntegrityError, match="has form 2, this release reads form 1"):
        store.get(promotion.id)


@on_databases
def test_an_edited_decision_is_refused_naming_its_row(url):
    store = SqlReviewStore(url)
    promotion = in_state(store)
    store.put_decision(promotion.id, a_signed_decision(promotion), decided(promotion))
    other = a_signed_decision(promotion, reason="signed elsewhere").model_dump_json()
    tamper(url, "UPDATE mrm_decisions SET record = :other", other=other)
    with pytest.raises(IntegrityError, match=rf"table mrm_decisions, row {promotion.id}"):
        store.decision(promotion.id)


@on_databases
def test_the_database_itself_refuses_a_second_standing_vote(url):
    store = SqlReviewStore(url)
    store.cast(a_vote(in_state(store), id="vote-1"))
    copy = "INSERT INTO mrm_votes SELECT 'vote-2', request_id, reviewer, role, choice, digest, cast_at, withdrawn_at"
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        tamper(url, f"{copy}, record, schema_version FROM mrm_votes")


@on_databases
def test_requests_for_one_version_from_many_processes_leave_one_open(url):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as processes:
        outcomes = processes.starmap(_ask, [(url, attempt) for attempt in range(1, 7)])
    store = SqlReviewStore(url)
    assert sorted(outcomes) == ["refused"] * 5 + ["taken"]
    assert len(store.find()) == 1


def _ask(url: str, attempt: int) -> str:
    try:
        SqlReviewStore(url).add(a_request(attempt=attempt), at=NOW)
    except RequestRefusedError:
        return "refused"
    finally:
        dispose(url)
    return "taken"


@on_databases
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Airflow forks all the same
def test_a_forked_child_makes_connections_of_its_own(url):
    store = SqlReviewStore(url)
    promotion = in_state(store)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(store.get(promotion.id).state.value))
    child.start()
    assert answers.get(timeout=30) == "in_review"
    child.join(30)
    assert child.exitcode == 0
    assert store.get(promotion.id) == promotion


def test_an_unreachable_database_is_an_outside_system_that_may_come_back(tmp_path):
    url = f"postgresql+psycopg://nobody@/reviews?host={tmp_path}"
    with pytest.raises(OutsideSystemError, match="review database") as caught:
        SqlReviewStore(url).find()
    dispose(url)
    assert caught.value.retryable
