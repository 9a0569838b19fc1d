"""What passes between programs: bounded, and named when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_approval.domain.errors import EvidenceError, OutsideSystemError
from model_approval.validators.contract import Limits, parse_record, plain_line, read_record
from model_approval.validators.transfer import open_download, with_retries

pytestmark = pytest.mark.unit


def test_foreign_text_becomes_one_bounded_line() -> None:
    assert plain_line("a\n\x1b[31m b\u202e\t c") == "a [31m b c"
    assert len(plain_line("x" * 5000)) == 2000


def test_a_record_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text('{"timeout_s": 5}')
    with pytest.raises(EvidenceError, match=r"limits\.json: larger than 10 bytes"):
        read_record(Limits, tmp_path / "limits.json", limit_bytes=10)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"limits\.json: No such file"):
        read_record(Limits, tmp_path / "limits.json")


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(EvidenceError, match="limits: timeout_s: Input should be greater than or equal to 1"):
        parse_record(Limits, b'{"timeout_s": 0}', what="limits")


def test_a_url_that_is_not_http_is_never_opened() -> None:
    with pytest.raises(OutsideSystemError, match="must be http or https"):
        open_download("file:///etc/passwd")


def test_retries_pause_longer_each_time_and_end() -> None:
    pauses: list[float] = []

    def action() -> None:
        raise OutsideSystemError("store", "busy")

    with pytest.raises(OutsideSystemError, match="busy"):
        with_retries(action, pause=pauses.append)
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_what_cannot_pass_is_not_tried_again() -> None:
    pauses: list[float] = []

    def action() -> None:
        raise OutsideSystemError("store", "no", retryable=False)

    with pytest.raises(OutsideSystemError, match="no"):
        with_retries(action, pause=pauses.append)
    assert pauses == []
