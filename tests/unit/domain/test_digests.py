"""Canonical bytes: one value, one encoding, one digest, in every process."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.digests import canonical_json, digest_of, sha256_of, sha256_of_stream
from tests.support.builders import a_frozen_policy

pytestmark = [pytest.mark.unit, pytest.mark.proof]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_json_says_the_same_as_the_value(value):
    # JSON knows one kind of number; RFC 8785 writes whole floats without a point.
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(st.dictionaries(st.text(), VALUES, min_size=2, max_size=6))
def test_the_order_of_keys_does_not_change_a_digest(value):
    assert digest_of(dict(reversed(value.items()))) == digest_of(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1])
def test_what_json_cannot_carry_is_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        canonical_json({"value": value})


def test_the_digest_is_the_one_that_other_tools_compute():
    # printf '{"a":1}' | sha256sum
    known = "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert digest_of({"a": 1}) == sha256_of(b'{"a":1}') == known


@given(st.binary(max_size=2000))
def test_a_stream_has_the_digest_and_size_of_its_bytes(data):
    assert sha256_of_stream(io.BytesIO(data)) == (sha256_of(data).removeprefix("sha256:"), len(data))


def test_a_policy_has_the_same_digest_in_every_process():
    # A committee's abilities are a set; sets have another order in each process unless somebody sorts them.
    script = "from tests.support.builders import a_frozen_policy; print(a_frozen_policy().digest)"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }
    assert found == {a_frozen_policy().digest}
