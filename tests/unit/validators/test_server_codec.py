"""JSON to tensors and back: what the signature does not name is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.validators.onnx_session import InputSpec
from model_approval.validators.server_codec import InputError, OutputError, decode_inputs, encode_outputs

pytestmark = pytest.mark.unit


def _decode(dtype: str, value: object, shape: tuple[int | str | None, ...] = ("batch", 2)) -> np.ndarray:
    body = json.dumps({"inputs": {"x": value}}).encode()
    decoded: np.ndarray = decode_inputs(body, [InputSpec("x", dtype, shape)])["x"]
    return decoded


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", [[1, 2.5]]),
        ("float16", [[0.5, 1]]),
        ("int64", [[1, -(2**62)]]),
        ("uint8", [[0, 255]]),
        ("bool", [[True, False]]),
        ("str", [["a", "ü"]]),
    ],
)
def test_values_of_the_declared_type_become_a_tensor_of_that_type(dtype: str, value: list[list[object]]) -> None:
    tensor = _decode(dtype, value)
    assert tensor.dtype == (np.dtype(object) if dtype == "str" else np.dtype(dtype))
    assert tensor.tolist() == value


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("int64", [[1.5, 2]], "values must be int64"),
        ("int8", [[1, 128]], "does not fit int8"),
        ("uint8", [[1, -1]], "does not fit uint8"),
        ("int64", [[True, False]], "values must be int64"),
        ("bool", [[0, 1]], "values must be bool"),
        ("float16", [[1e5, 0]], "not a finite float16"),
        ("float32", [["1", "2"]], "values must be float32"),
        ("str", [[1, 2]], "values must be str"),
        ("int64", [[2**80, 0]], "values must be int64"),
        ("float32", {"a": 1}, "values must be float32"),
        ("float32", [[1, 2, 3]], r"shape \[1, 3\], wanted \['any', 2\]"),
        ("float32", [[[1, 2]]], r"shape \[1, 1, 2\]"),
    ],
)
def test_values_that_would_be_bent_are_refused_instead(dtype: str, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        _decode(dtype, value)
    assert caught.value.status == 422


def test_an_open_dimension_takes_any_size() -> None:
    assert _decode("float32", [[1, 2]] * 7, (None, 2)).shape == (7, 2)


@given(st.binary(max_size=200))
def test_no_body_makes_the_decoder_fail_otherwise(body: bytes) -> None:
    with pytest.raises(InputError):
        decode_inputs(body, [InputSpec("x", "float32", ("batch", 2))])


def test_outputs_become_nested_lists_and_string_keys() -> None:
    encoded = encode_outputs(["label", "scores"], [np.array([1, 0]), [{0: np.float32(0.25), 1: 0.75}]])
    assert encoded == {"label": [1, 0], "scores": [{"0": 0.25, "1": 0.75}]}


@pytest.mark.parametrize("value", [np.array([[1.0, np.nan]]), np.array([np.inf]), [{0: float("nan")}]])
def test_an_answer_that_json_cannot_carry_is_an_error_that_names_the_output(value: object) -> None:
    with pytest.raises(OutputError, match="output 'y'"):
        encode_outputs(["y"], [value])
