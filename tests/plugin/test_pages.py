"""What the pages show: the right rows, the whole evidence, and hostile text as text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from model_approval.domain.evidence import Finding, Severity
from model_approval.domain.promotion import PromotionState
from model_approval.stages.audit import verify_bundle
from tests.plugin.rooms import ReviewRoom, a_room, send
from tests.support.builders import (
    FILES,
    a_candidate,
    a_champion,
    a_manifest,
    a_payload,
    a_request,
    an_evidence,
    an_outcome,
)

pytestmark = pytest.mark.unit

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"
"""Every way out of text, attribute and template."""


def shown_in(room: ReviewRoom, who: str, tab: str, **filters: str) -> list[str]:
    """Which requests a tab lists."""
    query = "&".join(f"{key}={value}" for key, value in {"tab": tab, **filters}.items())
    page = room.as_(who).get(f"/?{query}").text
    return [promotion.id for promotion in room.reviews.find() if f"requests/{promotion.id}" in page]


# ------------------------------------------------------------------------------------------------------------- queue
def test_tabs_follow_whose_move_it_is() -> None:
    room = a_room()
    request_id = room.in_review()
    waiting = room.add(version="8").id
    assert shown_in(room, "ana", "mine") == [request_id]
    assert shown_in(room, "ana", "waiting") == [waiting]
    assert shown_in(room, "rita", "mine") == []
    assert set(shown_in(room, "rita", "waiting")) == {request_id, waiting}


def test_a_vote_moves_a_request_to_waiting_for_others() -> None:
    room = a_room()
    request_id = room.in_review()
    send(room.as_("ana"), f"/requests/{request_id}/act/approve", room.seen(request_id))
    assert shown_in(room, "ana", "mine") == []
    assert shown_in(room, "ana", "waiting") == [request_id]
    assert "1 of 2, needs ML manager" in room.as_("ana").get("/?tab=waiting").text


def test_a_blocked_request_is_the_move_of_who_may_waive() -> None:
    room = a_room()
    metric = {"name": "latency_p99", "value": 80.0, "unit": "ms"}
    slow = an_evidence("gpu_benchmark", metrics=(metric,))
    request_id = room.in_review(an_evidence(), slow, state=PromotionState.BLOCKED)
    assert shown_in(room, "max", "mine") == [request_id]
    assert shown_in(room, "ana", "mine") == []


def test_decided_requests_have_their_own_tab() -> None:
    room = a_room()
    request_id = room.in_review()
    send(room.as_("ana"), f"/requests/{request_id}/act/reject", {**room.seen(request_id), "reason": "no good"})
    assert shown_in(room, "ana", "decided") == [request_id]
    assert "Rejected" in room.as_("vera").get("/?tab=decided").text


def test_the_title_counts_what_needs_my_review() -> None:
    room = a_room()
    room.in_review()
    assert "<title>(1) Model reviews</title>" in room.as_("ana").get("/").text
    assert "<title>Model reviews</title>" in room.as_("vera").get("/").text


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"model": "fraud-scorer"}, True),
        ({"model": "other"}, False),
        ({"text": "THIRD%20quarter"}, True),
        ({"text": "fourth"}, False),
        ({"requester": "rita"}, True),
        ({"requester": "ana"}, False),
        ({"risk": "high"}, True),
        ({"risk": "low"}, False),
        ({"verdict": "passed"}, True),
        ({"verdict": "failed"}, False),
        ({"environment": "staging"}, False),
        ({"age": "week"}, False),
        ({"age": "nonsense"}, True),
    ],
)
def test_filters_come_from_the_address(filters: dict[str, str], found: bool) -> None:
    room = a_room()
    room.in_review()
    assert bool(shown_in(room, "ana", "mine", **filters)) is found


def test_an_unknown_tab_shows_mine() -> None:
    room = a_room()
    request_id = room.in_review()
    assert shown_in(room, "ana", "../../etc") == [request_id]


def test_expedited_requests_come_first() -> None:
    room = a_room()
    first, second = room.in_review(), room.in_review(request={"version": "8"})
    send(room.as_("max"), f"/requests/{second}/act/expedite", {"reason": "fraud wave"})
    page = room.as_("ana").get("/").text
    assert page.index(f"requests/{second}") < page.index(f"requests/{first}")


def test_policy_file_problems_are_told_to_everybody() -> None:
    room = a_room()
    room.catalog.broken = ["churn.yaml:14: review.quorum: role <b> is unknown"]
    for who in ("vera", "max"):
        assert "churn.yaml:14: review.quorum: role &lt;b&gt; is unknown" in room.as_(who).get("/").text


def test_an_empty_queue_says_what_would_be_here() -> None:
    room = a_room()
    assert "Requests that need your vote" in room.as_("ana").get("/").text
    assert "Nothing matches these filters" in room.as_("ana").get("/?model=nothing").text


# ----------------------------------------------------------------------------------------------------------- request
def test_the_request_page_shows_evidence_against_limits_and_champion() -> None:
    room = a_room()
    metric = {"name": "latency_p99", "value": 44.1, "unit": "ms", "low": 43.0, "high": 45.2, "baseline": 41.8}
    bench = an_evidence("gpu_benchmark", metrics=(metric,))
    request = a_request(policy=room.catalog.frozen)
    request_id = room.in_review(an_evidence(), bench, candidate=a_candidate(request, champion=a_champion()))
    page = room.as_("ana").get(f"/requests/{request_id}").text
    for text in ("44.1\u202fms", "41.8\u202fms", "+2.3 (+5.5\u202f%)", "43 to 45.2", "\u2264 50 ms", "on CPU, no GPU"):
        assert text in page
    assert "Ready for review because 3 of 3 required checks passed. You may vote as Security." in page
    assert '<svg class="strip"' in page


def test_findings_are_listed_worst_first_with_file_and_advice() -> None:
    room = a_room()
    findings = (
        Finding(rule="b.low", severity=Severity.LOW, file="model.onnx", message="small"),
        Finding(
            rule="a.medium", severity=Severity.MEDIUM, file="model.onnx", offset=7, message="larger", advice="mend it"
        ),
    )
    scan = an_evidence("security_scan", findings=findings)
    request_id = room.in_review(scan, an_evidence("gpu_benchmark"))
    page = room.as_("ana").get(f"/requests/{request_id}").text
    assert page.index("a.medium") < page.index("b.low")
    assert "model.onnx at byte 7" in re.sub("<[^>]+>", "", page)
    assert "mend it" in page


def test_files_that_differ_from_the_champion_are_named() -> None:
    room = a_room()
    old_request = a_request(policy=room.catalog.frozen, version="6")
    old_files = {**FILES, "model.onnx": b"older bytes", "gone.txt": b"x"}
    del old_files["serving.yaml"]
    champion_id = room.in_review(
        request={"version": "6"}, candidate=a_candidate(old_request, manifest=a_manifest(old_files))
    )
    request = a_request(policy=room.catalog.frozen)
    request_id = room.in_review(candidate=a_candidate(request, champion=a_champion(request_id=champion_id)))
    page = room.as_("ana").get(f"/requests/{request_id}").text
    assert "3 differ from the champion's" in page
    for path, word in (("gone.txt", "removed"), ("model.onnx", "changed"), ("serving.yaml", "new")):
        assert f'{path}</th><td class="tone-' in page
        assert f">{word}</td>" in page


def test_a_metric_over_earlier_versions_has_a_table_twin() -> None:
    room = a_room()
    room.in_review(request={"version": "6"})
    request_id = room.in_review()
    page = room.as_("ana").get(f"/requests/{request_id}").text
    assert "the figures are in the table below" in page
    assert page.count("41.2\u202fms</td></tr>") == 2


def test_a_request_nobody_can_complete_says_so() -> None:
    room = a_room()
    request_id = room.in_review(request={"payload": a_payload(contributors=("max",))})
    assert (
        "No one can complete this review: ML manager has nobody left to vote."
        in room.as_("ana").get(f"/requests/{request_id}").text
    )


def test_timeline_and_bundle_come_from_the_signed_log() -> None:
    room = a_room()
    request_id = room.in_review()
    send(room.as_("ana"), f"/requests/{request_id}/act/approve", {**room.seen(request_id), "reason": "looks right"})
    page = room.as_("vera").get(f"/requests/{request_id}").text
    assert "requested the promotion" in page
    assert "looks right" in page
    bundle = room.as_("vera").get(f"/requests/{request_id}/audit.jsonl")
    assert bundle.headers["content-disposition"] == f'attachment; filename="audit-{request_id}.jsonl"'
    assert verify_bundle(bundle.content, room.services.verifier).is_sound


def test_a_changed_record_is_told_on_the_page() -> None:
    room = a_room()
    request_id = room.in_review()
    send(room.as_("ana"), f"/requests/{request_id}/act/approve", room.seen(request_id))
    stream = room.audit.stored[request_id]
    stream[0] = replace(stream[0], envelope=stream[0].envelope.replace(b'"payload":"ey', b'"payload":"fy'))
    assert "The record of this request was changed." in room.as_("ana").get(f"/requests/{request_id}").text


def test_a_request_that_does_not_exist_is_a_page_with_a_way_back() -> None:
    answer = a_room().as_("ana").get("/requests/pr-none")
    assert answer.status_code == 404
    assert "Back to the queue" in answer.text


def test_a_waiting_request_is_polled_and_a_finished_one_is_not() -> None:
    room = a_room()
    request_id = room.in_review()
    assert "data-poll=" in room.as_("ana").get(f"/requests/{request_id}").text
    send(room.as_("ana"), f"/requests/{request_id}/act/reject", {**room.seen(request_id), "reason": "no good"})
    assert "data-poll=" not in room.as_("ana").get(f"/requests/{request_id}").text


@pytest.mark.parametrize("where", ["queue", "request"])
def test_a_fragment_answers_204_until_something_changes(where: str) -> None:
    room = a_room()
    request_id = room.in_review()
    path = "/queue/fragment?tab=waiting" if where == "queue" else f"/requests/{request_id}/fragment?"
    reader = room.as_("vera")
    first = reader.get(path)
    version = first.text.split('data-version="')[1].split('"')[0]
    assert reader.get(f"{path}&since={version}").status_code == 204
    send(room.as_("ana"), f"/requests/{request_id}/act/approve", room.seen(request_id))
    assert reader.get(f"{path}&since={version}").status_code == 200


def test_the_tab_of_a_run_leads_to_the_request_of_its_id() -> None:
    room = a_room()
    request_id = room.in_review()
    answer = room.as_("ana").get(f"/run?run_id={request_id}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"./requests/{request_id}")
    other = room.as_("ana").get("/run?run_id=manual__2026-01-01T00:00:00+00:00")
    assert other.status_code == 200
    assert "No model review here" in other.text


def test_every_link_is_relative_so_that_a_prefix_in_front_works() -> None:
    room = a_room()
    request_id = room.in_review()
    for path in ("/", f"/requests/{request_id}", "/requests/new", f"/requests/{request_id}/act/approve"):
        page = room.as_("max").get(path).text
        for attribute in ('href="', 'src="', 'action="', 'data-poll="'):
            targets = [part.split('"')[0] for part in page.split(attribute)[1:]]
            assert all(target.startswith((".", "#")) for target in targets), (path, targets)


# ------------------------------------------------------------------------------------------------------- hostile text
def test_hostile_metadata_is_shown_as_text_in_every_field() -> None:
    room = a_room()
    payload = a_payload(reason=HOSTILE, classification=HOSTILE[:60], licence=HOSTILE[:60], contributors=(HOSTILE,))
    findings = (Finding(rule="x.y", severity=Severity.LOW, file=HOSTILE, message=HOSTILE, advice=HOSTILE),)
    metric = {"name": "latency_p99", "value": 41.2, "unit": "ms"}
    outcome = an_outcome(rule="intake.x", check="intake", title=HOSTILE, reason=HOSTILE, unit="<b>", limit=HOSTILE)
    request_id = room.in_review(
        an_evidence("security_scan", findings=findings, validator_version=HOSTILE[:60]),
        an_evidence("gpu_benchmark", metrics=(metric,), limitations=(HOSTILE,)),
        request={"payload": payload},
        intake_outcomes=(outcome,),
    )
    send(
        room.as_("ana"), f"/requests/{request_id}/act/reject", {**room.seen(request_id), "reason": HOSTILE, "role": ""}
    )
    for path in ("/?tab=decided", f"/requests/{request_id}", f"/requests/{request_id}/fragment"):
        page = room.as_("ana").get(path).text
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page
        assert "49" not in page.split("alert(2)&gt;")[1][:4]


def test_hostile_query_and_form_values_come_back_as_text() -> None:
    room = a_room()
    request_id = room.in_review()
    ana = room.as_("ana")
    pages = [
        ana.get("/", params={"text": HOSTILE, "tab": HOSTILE, "model": HOSTILE}).text,
        ana.get("/requests/new", params={"reason": HOSTILE, "model": HOSTILE}).text,
        ana.get(f"/requests/{request_id}", params={"done": HOSTILE}).text,
        ana.get("/run", params={"run_id": HOSTILE}).text,
        ana.get(f"/requests/{request_id}/act/waive", params={"rule": HOSTILE}).text,
        send(ana, f"/requests/{request_id}/act/expedite", {"reason": HOSTILE}).text,
        ana.get("/requests/%3Cscript%3Ealert(1)%3C%2Fscript%3E").text,
    ]
    assert all("<script>alert" not in page and "<img" not in page for page in pages)


def document_room(card: bytes, *, path: str = "docs/model_card.md") -> tuple[ReviewRoom, str]:
    """A request whose model card has these bytes."""
    room = a_room()
    files = {**FILES, path: card}
    manifest = a_manifest(files)
    entry = manifest.file(path)
    assert entry is not None
    document = {"kind": "model_card", "path": path, "sha256": entry.sha256, "size_bytes": entry.size_bytes}
    request = a_request(policy=room.catalog.frozen)
    candidate = a_candidate(request, manifest=manifest, documents=(document,))
    request_id = room.in_review(
        an_evidence(artifact_digest=manifest.artifact_digest),
        an_evidence("gpu_benchmark", artifact_digest=manifest.artifact_digest),
        request={"files": files},
        candidate=candidate,
    )
    return room, request_id


def test_a_markdown_document_is_rendered_without_html_links_or_images() -> None:
    card = b"# Card\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) ![y](http://evil.example/z.png)\n\n<http://a.b>\n"
    room, request_id = document_room(card)
    page = room.as_("ana").get(f"/requests/{request_id}/documents/model_card").text
    assert "<h1>Card</h1>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    body = page.split('<div class="prose">')[1]
    assert "<a " not in body
    assert "<img" not in body


def test_a_plain_document_is_escaped_text_whatever_its_bytes() -> None:
    room, request_id = document_room(b"<b>\xff\x00</b>", path="docs/card.txt")
    page = room.as_("ana").get(f"/requests/{request_id}/documents/model_card").text
    assert "&lt;b&gt;\ufffd" in page


def test_a_document_whose_bytes_changed_is_not_shown() -> None:
    room, request_id = document_room(b"# what was reviewed at intake")
    room.artifacts.put("memory://fraud-scorer/7", {**FILES, "docs/model_card.md": b"# something nicer instead"})
    answer = room.as_("ana").get(f"/requests/{request_id}/documents/model_card")
    assert answer.status_code == 409
    assert "is not what intake pinned" in answer.text
    assert "something nicer" not in answer.text


def test_a_large_document_is_named_with_its_size_and_not_read() -> None:
    room, request_id = document_room(b"x" * (600 * 1024))
    page = room.as_("ana").get(f"/requests/{request_id}/documents/model_card").text
    assert "too large to be shown here" in page
    assert len(page) < 10_000


def test_a_document_that_was_not_pinned_is_not_found() -> None:
    room, request_id = document_room(b"# card")
    for kind in ("serving", "..%2f..%2fmodel.onnx", "docs/model_card.md"):
        assert room.as_("ana").get(f"/requests/{request_id}/documents/{kind}").status_code == 404


# --------------------------------------------------------------------------------------------------------- new request
NEW = {"registry": "mlflow", "model": "fraud-scorer", "version": "7", "environment": "production", "reason": "better"}


def test_a_new_request_is_made_in_the_name_of_who_is_signed_in() -> None:
    room = a_room()
    answer = send(room.as_("rita"), "/requests/new", {**NEW, "requester": "ana", "documents": "model_card: docs/a.md"})
    assert answer.status_code == 303
    promotion = room.reviews.find()[0]
    assert promotion.request.payload.requester == "rita"
    assert promotion.request.payload.documents == {"model_card": "docs/a.md"}
    assert answer.headers["location"] == f"../requests/{promotion.id}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": ""}, "payload.reason"),
        ({"model": "unknown"}, "unknown"),
        ({"registry": "nowhere"}, "no registry"),
        ({"documents": "model card without colon"}, "is not `kind: path`"),
        ({"environment": "moon"}, "moon"),
    ],
)
def test_a_refused_request_says_why_and_keeps_what_was_typed(change: dict[str, str], message: str) -> None:
    room = a_room()
    answer = send(room.as_("rita"), "/requests/new", {**NEW, "licence": "Apache-2.0", **change})
    assert answer.status_code in (404, 422)
    assert message in answer.text
    assert 'value="Apache-2.0"' in answer.text
    assert room.reviews.find() == []
