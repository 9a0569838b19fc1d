"""joblib's files: arrays stand raw in the stream, and neither they nor what follows them hides anything."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_approval.domain.evidence import Evidence
from tests.support.models import a_pickle_that_calls
from tests.support.validation import evidence_about

pytestmark = pytest.mark.contract

_X, _Y = np.arange(80.0).reshape(20, 4) % 7, np.arange(20) % 2
_BAD = a_pickle_that_calls("posix", "system", protocol=4)


class _Calls:
    """Pickled, it is a call of an inert command; never unpickled."""

    def __reduce__(self) -> Any:
        return (eval, ("None",))


def _dumped(value: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream, **options)
    return stream.getvalue()


_ESTIMATORS = {
    "forest": RandomForestClassifier(3, random_state=0).fit(_X, _Y),
    "neighbours": KNeighborsClassifier(algorithm="kd_tree").fit(_X, _Y),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()).fit(_X, _Y),
    "words": TfidfVectorizer().fit(["good model", "bad model"]),
    "arrays": {
        "one": np.arange(6, dtype="<i4").reshape(2, 3),
        "same type": np.zeros((3, 0), dtype="<i4"),
        "scalar": np.array(4.5),
        "texts": np.array(["a", "bcd"]),
        "objects": np.array([{"a": np.ones(2)}, None], dtype=object),
        "records": np.zeros(2, dtype=[("x", "f4"), ("n", "S5")]),
        "records of objects": np.zeros(2, dtype=[("x", "O")]),
        "times": np.array(["2026-01-01"], dtype="M8[ns]"),
        "column order": np.asfortranarray(np.ones((2, 3))),
    },
}
HONEST = {
    **{f"{name}.joblib": _dumped(value) for name, value in _ESTIMATORS.items()},
    **{f"{name}.p{protocol}": _dumped(_ESTIMATORS[name], protocol=protocol)
       for name in ("pipeline", "arrays") for protocol in (2, 3, 4, 5)},
    **{f"pipeline.{kind}": _dumped(_ESTIMATORS["pipeline"], compress=(kind, 3))
       for kind in ("zlib", "gzip", "bz2", "xz", "lzma")},
}  # fmt: skip

_WITH_ARRAY = _dumped([np.zeros(64, dtype="u1"), 7])
_RAW = _WITH_ARRAY.index(bytes(64))
_PROGRAM = b"cposix\nsystem\n(Vtrue\ntR.".ljust(64, b"\0")
MALICIOUS = {
    "after-an-array.joblib": (_dumped([np.ones(500), _Calls()]), "pickle.dangerous-import"),
    "in-objects.joblib": (_dumped(np.array([_Calls(), 1], dtype=object)), "pickle.dangerous-import"),
    "compressed.joblib": (_dumped([np.ones(500), _Calls()], compress=3), "pickle.dangerous-import"),
    "second.joblib": (_WITH_ARRAY + _BAD, "pickle.dangerous-import"),
}  # fmt: skip
UNREADABLE = {
    "cut.joblib": _WITH_ARRAY[: _RAW + 10],
    "longer.joblib": _WITH_ARRAY.replace(b"K@\x85", b"KA\x85"),
    "huge.joblib": _WITH_ARRAY.replace(b"K@\x85", b"J\xff\xff\xff\x7f\x85"),
    "negative.joblib": _WITH_ARRAY.replace(b"K@\x85", b"J\xff\xff\xff\xff\x85"),
    "other-type.joblib": _WITH_ARRAY.replace(b"\x8c\x02u1", b"\x8c\x02V1"),
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What the scan says about all samples together."""
    files = {f"honest/{name}": data for name, data in HONEST.items()}
    files |= {f"bad/{name}": data for name, (data, _) in MALICIOUS.items()}
    files |= {f"unreadable/{name}": data for name, data in UNREADABLE.items()}
    return evidence_about(files, tmp_path_factory.mktemp("joblib"))


def _rules(evidence: Evidence, path: str) -> set[str]:
    return {finding.rule for finding in evidence.findings if finding.file == path}


@pytest.mark.parametrize("name", HONEST)
def test_what_joblib_writes_is_covered_to_its_end(evidence: Evidence, name: str) -> None:
    (coverage,) = [item for item in evidence.coverage if item.path == f"honest/{name}"]
    assert (coverage.covered, coverage.note, _rules(evidence, f"honest/{name}")) == (True, "", set())


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_payload_behind_raw_arrays_is_found(evidence: Evidence, name: str) -> None:
    assert MALICIOUS[name][1] in _rules(evidence, f"bad/{name}")


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_array_whose_bytes_cannot_be_told_is_not_covered(evidence: Evidence, name: str) -> None:
    (coverage,) = [item for item in evidence.coverage if item.path == f"unreadable/{name}"]
    assert not coverage.covered


def test_numbers_that_are_a_program_for_pickle_are_found(tmp_path: Path) -> None:
    # Without the alignment entry (as joblib before 1.2 wrote) the numbers stand right behind the announcement.
    data = _without_alignment(_PROGRAM)
    evidence = evidence_about({"old.joblib": data, "plain.joblib": _without_alignment(bytes(64))}, tmp_path)
    assert "pickle.two-readings" in _rules(evidence, "old.joblib")
    assert _rules(evidence, "plain.joblib") == set()
    assert all(item.covered for item in evidence.coverage)


def test_numbers_that_are_a_program_by_what_the_pickle_kept_are_found(tmp_path: Path) -> None:
    program = b"h\x01h\x02\x93X\x04\0\0\0true\x85R.".ljust(64, b"\0")
    kept = b"]q\0(X\5\0\0\0posixq\1X\6\0\0\0systemq\2"
    data = b"\x80\x02" + kept + _without_alignment(program)[2:-1] + b"e."
    evidence = evidence_about({"kept.joblib": data}, tmp_path)
    assert "pickle.two-readings" in _rules(evidence, "kept.joblib")


def test_padding_that_joblib_does_not_write_is_not_covered(tmp_path: Path) -> None:
    at = _RAW - _WITH_ARRAY[:_RAW][::-1].index(bytes([next(n for n in range(1, 17) if _WITH_ARRAY[_RAW - n - 1] == n)]))
    evidence = evidence_about({"padded.joblib": _WITH_ARRAY[:at] + b"N" + _WITH_ARRAY[at + 1 :]}, tmp_path)
    assert not evidence.coverage[0].covered


def _without_alignment(numbers: bytes) -> bytes:
    """An array of 64 bytes as a protocol 2 stream of an older joblib."""
    wrapper = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81"
    kind = b"cnumpy\ndtype\nX\x02\0\0\0u1K\x00K\x01\x87R(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    entries = b"".join(
        b"X" + len(name).to_bytes(4, "little") + name.encode() + value
        for name, value in (
            ("subclass", b"cnumpy\nndarray\n"),
            ("shape", b"K@\x85"),
            ("order", b"X\1\0\0\0C"),
            ("dtype", kind),
        )
    )
    return b"\x80\x02" + wrapper + b"}(" + entries + b"ub" + numbers + b"."
