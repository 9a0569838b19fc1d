"""Whether an advisory affects a version, how bad it is, and the index of an export."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.version import Version

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Severity
from model_approval.validators.supply_chain.advisories import Advisory, OsvRecord, advisories_of
from model_approval.validators.supply_chain.cvss import base_score, severity_of
from model_approval.validators.supply_chain.vulnerability_database import import_export, open_database
from tests.support.advisories import an_advisory, an_affected, write_export

pytestmark = pytest.mark.unit

ZERO, FROM_2, FIXED_1_3, FIXED_2_1 = {"introduced": "0"}, {"introduced": "2.0"}, {"fixed": "1.3"}, {"fixed": "2.1"}


def parsed(**changes: object) -> Advisory:
    (advisory,) = advisories_of(OsvRecord.model_validate(an_advisory(**changes))).values()
    return advisory


@pytest.mark.parametrize(
    ("events", "affected", "unaffected"),
    [
        ([ZERO, FIXED_1_3], ["0.0.1", "0a1", "1.2.9", "1.3rc1"], ["1.3", "1.3.post1", "2"]),
        ([FIXED_1_3, ZERO], ["1.0"], ["1.3"]),
        ([ZERO, FIXED_1_3, FROM_2, FIXED_2_1], ["1.2", "2.0", "2.0.9"], ["1.3", "1.9", "2.1"]),
        ([FIXED_2_1, ZERO, FROM_2, FIXED_1_3], ["1.2", "2.0.9"], ["1.9", "2.1"]),
        ([FROM_2], ["2.0", "99"], ["1.9"]),
        ([ZERO, {"last_affected": "1.5"}], ["1.5", "1.5.0", "1.5+local"], ["1.5.1", "1.5.post1"]),
        ([ZERO, {"last_affected": "1.5"}, {"limit": "1.2"}], ["1.1"], ["1.2", "1.4"]),
        ([ZERO, {"limit": "*"}], ["5"], []),
        ([{"introduced": "1!1.0"}], ["1!1.0"], ["2.0"]),
    ],
)
def test_ranges_are_evaluated_as_the_osv_specification_says(events, affected, unaffected):
    advisory = parsed(affected=[an_affected(*events)])
    assert [one for one in affected if not advisory.affects(Version(one))] == []
    assert [one for one in unaffected if advisory.affects(Version(one))] == []


def test_versions_that_are_listed_count_beside_the_ranges_and_however_they_are_spelled():
    advisory = parsed(affected=[an_affected(versions=["3.0.0", "not a version"])])
    assert advisory.affects(Version("3.0"))
    assert advisory.affects(Version("3.0+cu118"))
    assert advisory.affects(Version("3.1")) is False


@pytest.mark.parametrize(
    "affected",
    [
        an_affected({"introduced": "first"}),
        {"package": {"ecosystem": "PyPI", "name": "left-pad"}},
        {
            "package": {"ecosystem": "PyPI", "name": "left-pad"},
            "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}],
        },
    ],
    ids=["no version", "nothing said", "commits alone"],
)
def test_what_cannot_be_evaluated_is_neither_affected_nor_clean(affected):
    assert parsed(affected=[affected]).affects(Version("1.0")) is None


def test_records_as_other_databases_write_them_are_read():
    record = an_advisory(
        modified="2026-01-02T03:04:05.123456789Z", aliases=None, withdrawn=None, severity=None, database_specific=None
    )
    (advisory,) = advisories_of(OsvRecord.model_validate(record)).values()
    assert (advisory.severity, advisory.names) == (Severity.HIGH, frozenset({"GHSA-aaaa"}))


def test_withdrawn_records_and_other_ecosystems_say_nothing():
    withdrawn = an_advisory(withdrawn="2026-01-01T00:00:00Z")
    other = an_advisory(affected=[{**an_affected(), "package": {"ecosystem": "npm", "name": "left-pad"}}])
    assert [dict(advisories_of(OsvRecord.model_validate(one))) for one in (withdrawn, other)] == [{}, {}]


def test_several_entries_about_one_package_are_one_advisory():
    both = parsed(affected=[an_affected(), an_affected(FROM_2, FIXED_2_1, name="left-pad")])
    assert [both.affects(Version(one)) for one in ("1.2", "1.9", "2.0")] == [True, False, True]
    assert both.fixed_in == ("1.3", "2.1")


@pytest.mark.parametrize(
    ("vector", "score"),
    [  # vectors with the scores that the specification's own examples and the NVD give them
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:N/I:N/A:H", 5.9),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.6),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N/AC:L", None),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", None),
        ("nonsense", None),
    ],
)
def test_cvss_3_base_scores_are_those_of_the_specification(vector, score):
    assert base_score(vector) == score


@pytest.mark.parametrize(
    ("label", "vectors", "severity"),
    [
        ("MODERATE", [], Severity.MEDIUM),
        ("low", ["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"], Severity.CRITICAL),
        ("", ["CVSS:4.0/AV:N"], Severity.HIGH),
        ("", [], Severity.HIGH),
        ("unheard of", [], Severity.HIGH),
    ],
)
def test_the_worst_of_what_is_said_counts_and_silence_is_high(label, vectors, severity):
    assert severity_of(label, vectors) is severity


def test_an_export_is_indexed_and_found_by_canonical_name(tmp_path):
    export = write_export(tmp_path / "all.zip", an_advisory(), an_advisory(id="MAL-1", affected=[an_affected()]))
    snapshot = import_export(export, tmp_path / "pypi.sqlite")
    database = open_database(tmp_path / "pypi.sqlite")
    assert (snapshot.advisories, snapshot.packages) == (2, 1)
    assert database.snapshot == snapshot
    assert [(one.id, one.severity) for one in database.advisories("left-pad")] == [
        ("GHSA-aaaa", Severity.MEDIUM),
        ("MAL-1", Severity.CRITICAL),
    ]
    assert database.advisories("left") == ()


def test_a_folder_of_records_or_of_exports_can_be_opened_without_an_index(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records/a.json").write_text(json.dumps(an_advisory()))
    write_export(tmp_path / "records/all.zip", an_advisory(id="GHSA-bbbb"))
    assert len(open_database(tmp_path / "records").advisories("left-pad")) == 2


def test_the_snapshot_is_of_the_day_of_its_latest_record_whatever_its_files_say(tmp_path):
    old = datetime(2025, 3, 1, tzinfo=UTC)
    export = write_export(
        tmp_path / "all.zip",
        an_advisory(modified=old.isoformat()),
        an_advisory(id="X", modified=(old - timedelta(days=9)).isoformat()),
    )
    assert open_database(export).snapshot.latest == old


def test_a_record_from_the_future_does_not_keep_a_snapshot_young(tmp_path):
    export = write_export(tmp_path / "all.zip", an_advisory(modified="2999-01-01T00:00:00Z"))
    assert open_database(export).snapshot.latest <= datetime.now(UTC)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"id": "x"}', b'{"id": "", "modified": "2026-01-01T00:00:00Z"}', b"[" * 100_000]
)
def test_an_unreadable_record_stops_the_import_and_leaves_the_old_index(tmp_path, data):
    target = tmp_path / "pypi.sqlite"
    import_export(write_export(tmp_path / "all.zip", an_advisory()), target)
    before = target.read_bytes()
    (tmp_path / "records").mkdir()
    (tmp_path / "records/a.json").write_text(json.dumps(an_advisory()))
    (tmp_path / "records/b.json").write_bytes(data)
    with pytest.raises(EvidenceError, match=r"b\.json"):
        import_export(tmp_path / "records", target)
    assert target.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"all.zip", "records", "pypi.sqlite"}


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"x" * 5000, b"text", b"PK\x03\x04broken", b""])
def test_what_is_no_database_is_refused_in_words(tmp_path: Path, content: bytes):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(EvidenceError, match=str(path)):
        open_database(path)


def test_an_empty_folder_and_a_missing_path_are_no_database(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(EvidenceError):
            open_database(path)
