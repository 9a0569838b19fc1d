"""The whole evidence on the page and in the API: findings folded, ratios with their noise, documents to take along."""

from __future__ import annotations

import json
import re
from datetime import date
from html import unescape

import pytest
from httpx import Response

from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.evidence import Attachment, Evidence, FileCoverage, Finding, Metric, Ratio, Severity
from model_approval.policy.schema import MetricLimit
from model_review import words
from model_review.downloads import OPAQUE
from model_review.findings_view import SHOWN_IN_FILE, SHOWN_PLACES, findings_view
from model_review.measurements import MAX_SHOWN, measurements, ratio_view
from model_review.surroundings import surroundings
from tests.plugin.rich import ACCEPTED, EVIL, EXPIRED, MANY, PAGE, TABLE_RULE, rich_benchmark, rich_room, rich_scan
from tests.plugin.rooms import ReviewRoom, a_room
from tests.support.builders import a_frozen_policy, a_missing_evidence, a_stored_evidence, an_evidence

pytestmark = pytest.mark.unit

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\u202egnp.exe\u05d0\u05d1"
"""Every way out of text, attribute and template, a character that turns what follows around, and Hebrew."""


def page_of(room: ReviewRoom, request_id: str) -> str:
    answer: Response = room.as_("ana").get(f"/requests/{request_id}")
    assert answer.status_code == 200
    return str(answer.text)


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", html)))


def part(page: str, start: str, end: str) -> str:
    return page.split(start, 1)[1].split(end, 1)[0]


def fetch(room: ReviewRoom, request_id: str, path: str) -> Response:
    answer: Response = room.as_("ana").get(f"/requests/{request_id}/evidence/{path}")
    return answer


# ---------------------------------------------------------------------------------------------------------- findings
def test_a_finding_shows_severity_place_meaning_advice_engines_and_fingerprint() -> None:
    room, request_id = rich_room()
    shown = text_of(part(page_of(room, request_id), 'id="h-findings"', 'id="h-files"'))
    assert "critical pickle.dangerous-import weights.pt in archive/data.pkl at byte 412" in shown
    for text in (
        "loading calls os.system",
        "What to do: ask for the weights as safetensors",
        "reported by picklescan and modelaudit",
        EVIL.fingerprint,
        "Loading the file runs commands, files or code of the sender's choice.",
    ):
        assert text in shown


def test_two_hundred_findings_of_one_rule_are_one_entry_below_the_worse_one() -> None:
    room, request_id = rich_room()
    findings = part(page_of(room, request_id), '<ul class="findings">', 'id="findings-accepted"')
    folded = part(findings, '<details id="finding-2">', "</summary>")
    assert "200 times in 2 files" in text_of(folded)
    assert findings.index(EVIL.rule) < findings.index(MANY[0].rule) < findings.index(EXPIRED.rule)
    assert findings.count(f"{MANY[0].rule}</code>") == 1


def test_the_heading_counts_each_severity_without_the_accepted() -> None:
    room, request_id = rich_room()
    counts = text_of(part(page_of(room, request_id), '<p class="finding-counts">', "</p>"))
    assert counts == "1 critical200 medium1 low1 with an expired acceptance"


def test_an_accepted_finding_stands_apart_with_owner_reason_and_last_day() -> None:
    room, request_id = rich_room()
    page = page_of(room, request_id)
    apart = part(page, 'id="findings-accepted"', "</section>")
    assert "Accepted by ana until 2026-12-31: the serving image pins it (inline mitigations already exist)" in text_of(
        apart
    )
    assert "requirements.txt at line 3" in text_of(apart)
    assert ACCEPTED.message not in part(page, '<ul class="findings">', 'id="findings-accepted"')


def test_an_expired_acceptance_is_said_to_be_expired_and_the_finding_counts() -> None:
    room, request_id = rich_room()
    counted = text_of(part(page_of(room, request_id), '<ul class="findings">', 'id="findings-accepted"'))
    assert "The acceptance by ana expired on 2026-05-31, so it counts again: never fetched behind our proxy" in counted


def test_files_not_looked_into_are_named_with_their_notes() -> None:
    room, request_id = rich_room()
    shown = text_of(page_of(room, request_id))
    assert "1 of 4 files not looked into, or not fully. odd.bin: no scanner knows this format" in shown


def test_ten_thousand_findings_make_a_page_of_bounded_length() -> None:
    grave = tuple(
        Finding(rule=f"r{n % 40}.x", severity=Severity.HIGH, file=f"f{n % 397}", subject=str(n), message="m")
        for n in range(10_000)
    )
    found = findings_view(a_frozen_policy(), [a_stored_evidence(an_evidence(findings=grave))])
    shown = sum(len(group.rows) for group in found.groups)
    assert (found.total, shown + found.not_shown) == (10_000, 10_000)
    assert len(found.groups) <= shown <= SHOWN_PLACES + len(found.groups)
    assert all(len(file.rows) <= SHOWN_IN_FILE for group in found.groups for file in group.files)


def test_only_the_last_run_of_a_check_is_shown() -> None:
    old = an_evidence(findings=(EVIL,))
    new = a_stored_evidence(an_evidence(findings=(ACCEPTED,)), run=2)
    found = findings_view(a_frozen_policy(), [a_stored_evidence(old), new])
    assert [group.rule for group in found.groups] == [ACCEPTED.rule]


# ---------------------------------------------------------------------------------------------------------- figures
def test_a_relative_limit_shows_ratio_interval_and_noise_floor_with_its_strip() -> None:
    room, request_id = rich_room()
    page = page_of(room, request_id)
    said = "1.02 times the champion, 95\u202f% interval 0.99 to 1.04; champion against itself: 0.6\u202f%"
    assert f">{said}<" in page
    assert f'aria-label="{said}; limit \u2264 1.05 \u00d7 champion"' in page
    assert '<rect class="noise"' in page


def test_a_ratio_is_drawn_on_its_own_scale_within_its_limit() -> None:
    ratio = Ratio(value=1.02, low=0.99, high=1.04, noise=0.006)
    metric = Metric(name="latency_p50", value=2, unit="ms", baseline=1.96, ratio=ratio)
    limit = MetricLimit(metric="latency_p50", unit="ms", max_ratio_to_champion=1.05)
    drawn = ratio_view(limit, metric)
    assert drawn is not None
    assert drawn.strip is not None
    assert drawn.strip.interval is not None
    assert drawn.strip.noise is not None
    assert drawn.strip.champion is not None
    assert drawn.strip.interval[1] < drawn.strip.allowed_end
    assert drawn.strip.noise[0] < drawn.strip.champion < drawn.strip.noise[1]
    absolute = MetricLimit(metric="latency_p50", unit="ms", maximum=3)
    assert ratio_view(absolute, metric) is None


def test_all_figures_of_a_run_are_in_a_table_with_unit_interval_champion_ratio_and_samples() -> None:
    room, request_id = rich_room()
    shown = text_of(part(page_of(room, request_id), 'id="figures-gpu_benchmark"', "</table>"))
    assert "All 8 figures of this run" in shown
    for text in ("latency p50 1.9 ms 1.94 ms 1.9 to 1.98 1.020.99 to 1.04, ±0.6 % noise 12 000", "? to 7.1"):
        assert text.replace(" ", "") in shown.replace(" ", "")
    for family in ("Latency and throughput", "Memory", "GPU", "Batch sizes", "Quality and others"):
        assert family in shown


def test_warm_up_and_scenarios_are_told_in_words() -> None:
    room, request_id = rich_room()
    notes = text_of(part(page_of(room, request_id), '<ul class="notes">', "</ul>"))
    for text in (
        "Warm-up of the candidate: settled after 80 queries",
        "Warm-up of the champion: not settled after 900 queries",
        "MLPerf SingleStream: by LoadGen's own rules: valid",
        "MLPerf Offline: by LoadGen's own rules: invalid",
    ):
        assert text in notes


def test_a_thousand_figures_are_cut_and_counted() -> None:
    metrics = tuple(Metric(name=f"batch_{n}_throughput", value=n, unit="samples/s") for n in range(1000))
    found = measurements(an_evidence("gpu_benchmark", metrics=metrics))
    assert found is not None
    assert (found.total, found.more) == (1000, 1000 - MAX_SHOWN)


# ------------------------------------------------------------------------------------------------------ surroundings
def test_what_a_check_ran_on_and_with_is_told_with_missing_locks_marked() -> None:
    room, request_id = rich_room()
    scan = text_of(part(page_of(room, request_id), 'id="around-security_scan"', "</dl>"))
    bench = text_of(part(page_of(room, request_id), 'id="around-gpu_benchmark"', "</dl>"))
    assert scan.startswith(">Looked into with picklescan 1.0.0, modelaudit 0.2.54, rule set 2026-11-20 1 lock missing")
    for text in (
        "picklescan1.0.0",
        "Rule set (allowed names)2026-11-20",
        "OSV PyPI of 2026-05-29, 18123 advisories, 3 days old at the time",
        "Signatureverified key sha256:9f2c; 3 of 3 files",
        "files (Landlock)missing Landlock is not supported by this kernel",
        "system calls (seccomp)in force no sockets, no exec",
    ):
        assert text in scan
    assert bench.startswith(">Measured on NVIDIA H100 80GB HBM3")
    assert "model server: system calls (seccomp)in force" in bench
    assert "GPU driver570.86.10" in bench


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("OSV PyPI of 2026-06-01, 5 advisories", "0 days old at the time"),
        ("OSV PyPI of 2026-05-31, 5 advisories", "1 day old at the time"),
        ("OSV PyPI of 2027-01-01, 5 advisories", "dated after this run"),
        ("OSV PyPI of 2026-13-39", "2026-13-39"),
        ("none", ""),
    ],
)
def test_the_age_of_the_vulnerability_database_is_told(database: str, said: str) -> None:
    found = surroundings(an_evidence(environment={"vulnerability_database": database}))
    assert found is not None
    fact = found.groups[0].facts[0]
    assert fact.text.endswith(said)
    assert (fact.look is not None) is (database == "none")


def test_every_fact_is_shown_once_whatever_its_name() -> None:
    known = {"confinement.odd": "who knows", "new_fact": "x", "gpu": "H100", "relay.confinement.ports": "missing: 6.1"}
    found = surroundings(an_evidence("gpu_benchmark").model_copy(update={"environment": known}))
    assert found is not None
    facts = [(fact.name, fact.text) for group in found.groups for fact in group.facts]
    assert sorted(facts) == [
        ("GPU", "H100"),
        ("new fact", "x"),
        ("odd", "who knows"),
        ("relay: one port (Landlock)", "6.1"),
    ]
    assert found.missing_locks == 1


# --------------------------------------------------------------------------------------------------------- downloads
def test_every_document_on_the_page_can_be_fetched_as_an_attachment_that_nothing_renders() -> None:
    room, request_id = rich_room()
    links = re.findall(r'href="\.\./requests/([^"]+/evidence/[^"]+)"', page_of(room, request_id))
    assert len(links) == 8
    for link in links:
        answer = room.as_("ana").get(f"/requests/{link}")
        assert answer.status_code == 200, link
        headers = answer.headers
        assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+"', headers["content-disposition"])
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert "html" not in headers["content-type"]


def test_the_evidence_comes_byte_for_byte() -> None:
    room, request_id = rich_room()
    stored = next(one for one in room.reviews.evidence(request_id) if one.check == "security_scan")
    answer = fetch(room, request_id, "security_scan/1/evidence.json")
    assert sha256_of(answer.content) == stored.digest
    assert answer.headers["content-disposition"] == 'attachment; filename="security_scan-1-evidence.json"'


def test_sarif_and_openvex_name_the_findings_and_who_accepted_them() -> None:
    room, request_id = rich_room()
    sarif = fetch(room, request_id, "security_scan/1/findings.sarif").json()
    results = sarif["runs"][0]["results"]
    suppressed = [one["ruleId"] for one in results if "suppressions" in one]
    assert (len(results), suppressed) == (203, [ACCEPTED.rule])
    vex = fetch(room, request_id, "security_scan/1/findings.openvex.json").json()
    status = {one["vulnerability"]["name"]: one["status"] for one in vex["statements"]}
    assert status[ACCEPTED.fingerprint] == "not_affected"
    assert status[EXPIRED.fingerprint] == status[EVIL.fingerprint] == "under_investigation"


def test_html_is_sent_as_opaque_bytes_whether_attached_or_data_docs() -> None:
    room, request_id = rich_room()
    attached = fetch(room, request_id, "gpu_benchmark/1/attachments/notes.html")
    docs = fetch(room, request_id, f"gpu_benchmark/1/data-docs/{TABLE_RULE}")
    assert docs.content == PAGE
    assert (attached.headers["content-type"], docs.headers["content-type"]) == (OPAQUE, OPAQUE)
    table = fetch(room, request_id, "gpu_benchmark/1/attachments/latencies.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.startswith("stream,block,ms")


@pytest.mark.parametrize(
    "path",
    [
        "security_scan/2/evidence.json",
        "security_scan/01/evidence.json",
        "security_scan/\u0661/evidence.json",
        "security_scan/-1/findings.sarif",
        "_documents/1/evidence.json",
        "..%2fsecurity_scan/1/evidence.json",
        "%2e%2e/1/evidence.json",
        "security_scan/1/attachments/evidence.json",
        "security_scan/1/attachments/..%2f..%2f_documents%2fx",
        "security_scan/1/attachments/%2e%2e",
        "security_scan/1/attachments/sbom.cdx.json%00",
        "gpu_benchmark/1/data-docs/..%2f..",
        "gpu_benchmark/1/data-docs/performance.latency-p99",
        "security_scan/1/data-docs/tables.latencies",
        "security_scan/1/nothing.json",
    ],
)
def test_what_was_not_recorded_is_not_found_in_words(path: str) -> None:
    room, request_id = rich_room()
    answer = fetch(room, request_id, path)
    assert answer.status_code == 404
    assert "Not found" in answer.text
    assert "content-disposition" not in answer.headers


def test_bytes_that_are_not_those_that_came_home_are_not_handed_out() -> None:
    room, request_id = rich_room()
    for stored in room.reviews.evidence(request_id):
        room.evidence.overwrite(request_id, stored.check, stored.run, b"{}")
    for name in ("evidence.json", "findings.sarif", "findings.openvex.json", "attachments/sbom.cdx.json"):
        assert fetch(room, request_id, f"security_scan/1/{name}").status_code == 409


def test_evidence_that_vanished_or_was_swapped_in_the_store_is_told() -> None:
    room = a_room()
    request_id = room.in_review()
    other = a_stored_evidence(an_evidence(request_id=request_id), run=2, digest=sha256_of(b"what came home"))
    room.reviews.add_evidence(other)
    gone = fetch(room, request_id, "security_scan/2/evidence.json")
    assert gone.status_code == 409
    assert "is not what came home" in gone.text
    url = room.evidence.upload_url(request_id, "security_scan", 2, valid_s=60)
    room.evidence.upload(url, b'{"something": "nicer"}')
    swapped = fetch(room, request_id, "security_scan/2/evidence.json")
    assert swapped.status_code == 409
    assert "nicer" not in swapped.text


def test_a_run_that_brought_nothing_home_says_why() -> None:
    room = a_room()
    request_id = room.in_review()
    missing = a_missing_evidence(error="its pod was evicted", run=2).model_copy(update={"request_id": request_id})
    room.reviews.add_evidence(missing)
    answer = fetch(room, request_id, "security_scan/2/evidence.json")
    assert answer.status_code == 404
    assert "its pod was evicted" in answer.text


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"evidence_digest": sha256_of(b"other evidence")}, 409),
        ({"data_docs": f"data-docs/gpu_benchmark-1-{TABLE_RULE}-000000000000.html"}, 404),
        ({"data_docs": "../../other-request/_documents/secret.html"}, 409),
        ({"data_docs": "expectations/gpu_benchmark-1.json"}, 409),
        ({"data_docs": ""}, 404),
    ],
)
def test_data_docs_under_another_name_or_of_other_evidence_are_refused(change: dict[str, str], status: int) -> None:
    room, request_id = rich_room()
    assert room.tables is not None
    kept = room.tables.model_dump(mode="json")
    kept |= {name: value for name, value in change.items() if name in kept}
    kept["results"][0] |= {name: value for name, value in change.items() if name not in kept}
    room.evidence.replace_document(request_id, "expectations/gpu_benchmark-1.json", canonical_json(kept))
    answer = fetch(room, request_id, f"gpu_benchmark/1/data-docs/{TABLE_RULE}")
    assert answer.status_code == status
    assert PAGE.decode() not in answer.text


def test_data_docs_with_other_bytes_than_their_name_says_are_refused() -> None:
    room, request_id = rich_room()
    assert room.tables is not None
    room.evidence.replace_document(request_id, room.tables.results[0].data_docs, b"<p>all is well</p>")
    answer = fetch(room, request_id, f"gpu_benchmark/1/data-docs/{TABLE_RULE}")
    assert answer.status_code == 409
    assert "all is well" not in answer.text


# --------------------------------------------------------------------------------------------------------------- API
def test_the_api_tells_the_same_facts() -> None:
    room, request_id = rich_room()
    found = room.as_("ana", token=True).get(f"/api/requests/{request_id}").json()
    assert len(found["findings"]) == 203
    assert found["findings"][0]["fingerprint"] == EVIL.fingerprint
    acceptances = {
        one["fingerprint"]: (one["counts"], one["acceptance"]) for one in found["findings"] if one["acceptance"]
    }
    assert acceptances[ACCEPTED.fingerprint][0] is False
    assert acceptances[EXPIRED.fingerprint] == (
        True,
        {
            "owner": "ana",
            "reason": "never fetched behind our proxy",
            "expires": date(2026, 5, 31).isoformat(),
            "justification": "inline_mitigations_already_exist",
            "in_force": False,
        },
    )
    assert [(one["rule"], one["ratio"]["value"]) for one in found["ratios"]] == [
        ("performance.latency-p50", 1.02),
        ("performance.throughput", 0.945),
    ]
    for one in found["downloads"]:
        assert room.as_("ana", token=True).get(f"/{one['path']}").status_code == 200


def test_the_api_lists_attachments_without_their_text() -> None:
    big = Attachment(name="big.csv", media_type="text/csv", text="needle" * 1000)
    room, request_id = rich_room(bench=rich_benchmark(attachments=(big,)))
    answer = room.as_("ana", token=True).get(f"/api/requests/{request_id}")
    assert "needle" not in answer.text
    bench = next(one for one in answer.json()["evidence"] if one["check"] == "gpu_benchmark")
    assert bench["evidence"]["attachments"] == [{"name": "big.csv", "media_type": "text/csv"}]


# ------------------------------------------------------------------------------------------------------ hostile text
def hostile_scan() -> Evidence:
    """Every text of the evidence that a model's sender may have a hand in."""
    finding = Finding(
        rule="x.y", severity=Severity.LOW, file=HOSTILE, inner=HOSTILE, subject=HOSTILE, message=HOSTILE, advice=HOSTILE
    )
    many = tuple(finding.model_copy(update={"subject": f"{n}", "file": f"{n % 2}{HOSTILE}"}) for n in range(9))
    return rich_scan(
        findings=(finding, *(one.model_copy(update={"rule": "z.z"}) for one in many)),
        coverage=tuple(
            FileCoverage(path=f"{n}{HOSTILE}", covered=False, format=HOSTILE, note=HOSTILE) for n in range(9)
        ),
        environment={HOSTILE: HOSTILE, f"confinement.{HOSTILE}": HOSTILE, "signature": HOSTILE, "picklescan": HOSTILE},
        limitations=(HOSTILE,),
    )


def hostile_benchmark() -> Evidence:
    """The same for a benchmark."""
    metric = Metric(name="odd", value=1.0, unit=HOSTILE[:32])
    facts = {"gpu": HOSTILE, f"warm_up.{HOSTILE}": HOSTILE, "loadgen": HOSTILE, "noise_floor": HOSTILE}
    return rich_benchmark(metrics=(metric,), environment=facts, limitations=(HOSTILE,))


@pytest.mark.parametrize("path", ["", "/fragment"])
def test_hostile_text_in_every_new_field_stays_text(path: str) -> None:
    room, request_id = rich_room(scan=hostile_scan(), bench=hostile_benchmark())
    page = room.as_("ana").get(f"/requests/{request_id}{path}").text
    assert page.count("&lt;script&gt;alert(1)") >= 30
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "{{7*7}}" in page
    assert "\u202e" not in page
    assert "\\u202egnp.exe" in page


def test_very_long_texts_are_shown_whole_and_can_break() -> None:
    long = "x" * 2000
    finding = Finding(rule="x.y", severity=Severity.LOW, file=long, inner=long[:1000], message=long)
    room, request_id = rich_room(scan=rich_scan(findings=(finding,), environment={"runtime": long}))
    page = page_of(room, request_id)
    assert page.count(f'<bdi class="wrap">{long}</bdi>') == 1
    assert f"<bdi>{long}</bdi>" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("z\u00e4hlen \u05d0\u05d1 \U0001f600", "z\u00e4hlen \u05d0\u05d1 \U0001f600"),
        ("two\nlines\t", "two\nlines\t"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b\u2069\u200b", "a\\u2066b\\u2069\\u200b"),
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),
    ],
)
def test_characters_that_hide_or_reorder_are_spelled_out_and_letters_are_not(text: str, shown: str) -> None:
    assert words.visible(text) == shown


def test_a_sarif_file_of_hostile_findings_is_json_all_the_same() -> None:
    room, request_id = rich_room(scan=hostile_scan())
    found = json.loads(fetch(room, request_id, "security_scan/1/findings.sarif").content)
    assert len(found["runs"][0]["results"]) == 10
