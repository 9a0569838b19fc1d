"""Bodies of the Open Inference Protocol and heads of HTTP, whatever bytes they are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.validators.runtimes.contract import TensorSpec
from model_approval.validators.server_answer import Refusal
from model_approval.validators.server_head import Head, parse_head
from model_approval.validators.server_infer import Inference

pytestmark = [pytest.mark.unit, pytest.mark.fuzz]

_SPECS = (TensorSpec("x", "float32", ("batch", 2)), TensorSpec("s", "str", (None,)))
_OUTPUTS = (TensorSpec("y", "float32", (None, None)),)

_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_names = st.sampled_from(["name", "x", "s", "y", "datatype", "shape", "data", "parameters", "binary_data_size"])
_json = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4), max_leaves=12
)
_tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "s"]),
        "datatype": st.sampled_from(["FP32", "BYTES"]),
        "shape": _json | st.just([1, 2]),
    },
    optional={"data": _json, "parameters": st.fixed_dictionaries({"binary_data_size": _json}) | _json},
)
_documents = st.fixed_dictionaries(
    {"inputs": st.lists(_tensor, max_size=3) | _json}, optional={"outputs": _json, "id": _json, "parameters": _json}
)


def _read(body: bytes, json_bytes: int | None) -> dict[str, Any] | Refusal:
    """The tensors, or why there are none; any other error is a failed test."""
    try:
        return Inference("model", "1", _SPECS, _OUTPUTS, finite=True).read(memoryview(body), json_bytes)[1]
    except Refusal as refusal:
        return refusal


@given(document=_documents | _json, tail=st.binary(max_size=40), binary=st.booleans())
def test_any_json_is_read_or_refused(document: object, tail: bytes, binary: bool) -> None:
    header = json.dumps(document).encode()
    found = _read(header + tail, len(header) if binary else None)
    if isinstance(found, Refusal):
        assert (found.status, bool(found.message)) == (400, True)
    else:
        assert set(found) == {"x", "s"}
        assert np.isfinite(found["x"]).all()


@given(body=st.binary(max_size=200), length=st.integers(0, 200) | st.none())
def test_any_bytes_are_refused(body: bytes, length: int | None) -> None:
    assert isinstance(_read(body, length), Refusal)


@given(blob=st.binary(max_size=60))
def test_any_bytes_are_strings_or_refused(blob: bytes) -> None:
    inputs: list[dict[str, Any]] = [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
        {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(blob)}},
    ]
    header = json.dumps({"inputs": inputs}).encode()
    found = _read(header + blob, len(header))
    if isinstance(found, Refusal):
        assert "'s'" in found.message
    else:
        assert sum(4 + len(word.encode()) for word in found["s"]) == len(blob)


def _parse(data: bytes) -> Head | Refusal:
    try:
        return parse_head(data)
    except Refusal as refusal:
        return refusal


@given(
    lines=st.lists(
        st.binary(max_size=30)
        | st.sampled_from([b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Expect: 100-continue"]),
        max_size=5,
    ),
    first=st.binary(max_size=20) | st.just(b"POST /v2?a=b HTTP/1.1"),
)
def test_any_head_is_read_or_refused(lines: list[bytes], first: bytes) -> None:
    found = _parse(b"\r\n".join([first, *lines]) + b"\r\n\r\n")
    if isinstance(found, Refusal):
        assert found.status in (400, 431, 501)
    else:
        assert found.path == "/v2"
        assert (found.content_length is None) == ("transfer-encoding" in found.headers)


def test_tensors_at_odd_places_are_moved_to_even_ones() -> None:
    inference = Inference(
        "model", "1", (TensorSpec("a", "uint8", (3,)), TensorSpec("b", "float64", (2,))), (), finite=True
    )
    inputs = [
        {"name": "a", "datatype": "UINT8", "shape": [3], "parameters": {"binary_data_size": 3}},
        {"name": "b", "datatype": "FP64", "shape": [2], "parameters": {"binary_data_size": 16}},
    ]
    header = json.dumps({"inputs": inputs}).encode()
    body = header + bytes([1, 2, 3]) + np.array([1.5, 2.5]).tobytes()
    _, arrays = inference.read(memoryview(body), len(header))
    assert (arrays["a"].tolist(), arrays["b"].tolist()) == ([1, 2, 3], [1.5, 2.5])
    assert arrays["b"].flags.aligned


def test_an_answer_that_json_cannot_carry_is_an_error_and_binary_carries_it() -> None:
    inference = Inference("model", "1", _SPECS[:1], _OUTPUTS, finite=True)
    given = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    plan, _ = inference.read(memoryview(json.dumps(given).encode()), None)
    with pytest.raises(Refusal, match="NaN or infinity") as caught:
        inference.write(plan, [np.array([[np.nan]], np.float32)])
    assert caught.value.status == 500
    asking = {**given, "parameters": {"binary_data_output": True}}
    plan, _ = inference.read(memoryview(json.dumps(asking).encode()), None)
    answer = inference.write(plan, [np.array([[np.nan]], np.float32)])
    assert answer.length == sum(memoryview(part).nbytes for part in answer.parts)


def test_a_list_of_maps_becomes_a_matrix_with_a_column_for_each_key() -> None:
    inference = Inference("model", "1", _SPECS[:1], _OUTPUTS, finite=True)
    given = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    plan, _ = inference.read(memoryview(json.dumps(given).encode()), None)
    answer = inference.write(plan, [[{1: 0.25, 0: 0.75}, {0: 0.5, 1: 0.5}]])
    (output,) = json.loads(bytes(answer.parts[0]))["outputs"]
    assert (output["shape"], output["data"]) == ([2, 2], [0.75, 0.25, 0.5, 0.5])
