"""One inference of the Open Inference Protocol (V2): its body into arrays, the model's answer into a body.

A JSON header that came before is not parsed again when all of its tensors are binary: a plan made from it says where in
the body each of them lies. The same holds for the answer's header, which depends on nothing but the outputs' shapes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from model_approval.validators.runtimes.contract import TensorSpec
from model_approval.validators.server_answer import BINARY_TYPE, Answer, Refusal, json_answer
from model_approval.validators.server_tensors import (
    BY_DTYPE,
    Described,
    as_tensor,
    describe,
    from_lists,
    join_strings,
    require_finite,
    split_strings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT_PLANS = 64
_KEPT_HEADERS = 64
_KEPT_BYTES = 16 * 1024
"""Longer JSON headers carry data, or are meant to fill our memory."""
_MAX_ID = 256


@dataclass(frozen=True)
class _Lying:
    """A tensor in the body's binary part."""

    described: Described
    dtype: np.dtype[Any] | None
    """None: strings."""
    offset: int
    size: int
    floating: bool


@dataclass(frozen=True)
class Plan:
    """What a request's JSON header asks for."""

    id: str
    lying: tuple[_Lying, ...]
    arrays: dict[str, NDArray[Any]]
    """Tensors whose data are in the header itself."""
    json_bytes: int
    body_bytes: int
    wanted: tuple[tuple[int, TensorSpec, bool], ...]
    """Position among the model's outputs, output, whether as binary data."""
    rendered: dict[tuple[object, ...], tuple[bytes, bytes]] = field(default_factory=dict)
    """Header lines and JSON header by the outputs' shapes."""


class Inference:
    """Reads and writes bodies for one model."""

    def __init__(
        self, name: str, version: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, finite: bool
    ) -> None:
        self._name, self._version = name, version
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = tuple(outputs)
        self._finite = finite
        self._plans: dict[bytes, Plan] = {}

    def read(self, body: memoryview, json_bytes: int | None) -> tuple[Plan, dict[str, NDArray[Any]]]:
        """The plan of a request and its tensors; they lie in `body`, which has to stay while they are used.

        Args:
            body: The whole body.
            json_bytes: Length of the JSON header; None: the body is JSON alone.

        Raises:
            Refusal: 400, and what is wrong.
        """
        header = bytes(body if json_bytes is None else body[:json_bytes])
        plan = self._plans.get(header) or self._plan(header)
        if json_bytes is None and plan.lying:
            raise Refusal(400, "an input is binary, but there is no Inference-Header-Content-Length")
        if len(body) != plan.body_bytes:
            raise Refusal(400, f"the body has {len(body)} bytes, its header tells of {plan.body_bytes}")
        arrays = dict(plan.arrays)
        for tensor in plan.lying:
            arrays[tensor.described.spec.name] = self._array(tensor, body)
        return plan, arrays

    def _array(self, tensor: _Lying, body: memoryview) -> NDArray[Any]:
        described = tensor.described
        if tensor.dtype is None:
            return split_strings(described, body[tensor.offset : tensor.offset + tensor.size])
        array = np.frombuffer(body, tensor.dtype, described.count, tensor.offset).reshape(described.shape)
        if not array.flags.aligned:
            array = array.copy()
        if tensor.floating and self._finite:
            require_finite(described.spec.name, array)
        elif tensor.dtype.kind == "b" and array.view(np.uint8).max() > 1:
            raise Refusal(400, f"input {described.spec.name!r}: a BOOL is neither 0 nor 1")
        return array

    def _plan(self, header: bytes) -> Plan:
        document = _object(header)
        given = _by_name(document.get("inputs"), "inputs")
        if set(given) != set(self._inputs):
            wrong = sorted(set(given) ^ set(self._inputs))[0]
            raise Refusal(400, f"input {wrong[:200]!r} is {'unknown' if wrong in given else 'missing'}")
        lying, arrays, offset = [], {}, len(header)
        for name, item in given.items():
            described = describe(self._inputs[name], item.get("datatype"), item.get("shape"))
            size = _parameters(item).get("binary_data_size")
            if size is None:
                arrays[name] = array = from_lists(described, item.get("data"))
                if array.dtype.kind == "f" and self._finite:
                    require_finite(name, array)
                continue
            lying.append(_lying(described, size, offset))
            offset += lying[-1].size
        plan = Plan(_id(document), tuple(lying), arrays, len(header), offset, self._wanted(document))
        if not arrays and len(header) <= _KEPT_BYTES:
            if len(self._plans) >= _KEPT_PLANS:
                self._plans.clear()
            self._plans[header] = plan
        return plan

    def _wanted(self, document: dict[str, Any]) -> tuple[tuple[int, TensorSpec, bool], ...]:
        known = {spec.name: (position, spec) for position, spec in enumerate(self._outputs)}
        default = _parameters(document).get("binary_data_output", False)
        asked = _by_name(document["outputs"], "outputs") if document.get("outputs") else {name: {} for name in known}
        wanted = []
        for name, item in asked.items():
            if name not in known:
                raise Refusal(400, f"output {name[:200]!r} is unknown")
            binary = _parameters(item).get("binary_data", default)
            if type(binary) is not bool:
                raise Refusal(400, f"output {name!r}: binary_data is neither true nor false")
            position, spec = known[name]
            if spec.dtype == "float16" and not binary:
                raise Refusal(400, f"output {name!r}: FP16 has no form in JSON, ask for it as binary data")
            wanted.append((position, spec, binary))
        return tuple(wanted)

    def write(self, plan: Plan, values: Sequence[object]) -> Answer:
        """The answer's body. Raises Refusal (500) when the model answered something that has no form here."""
        parts: list[Any] = []
        key: list[object] = []
        arrays = []
        plain = False
        for position, spec, binary in plan.wanted:
            try:
                array = as_tensor(spec, values[position])
            except (ValueError, KeyError, TypeError) as err:
                raise Refusal(500, f"the model's answer is no tensor: {err}") from err
            arrays.append(array)
            if not binary:
                plain = True
                continue
            part = _blob(array)
            parts.append(part)
            key.append((array.shape, array.dtype, part.nbytes))
        if plain:
            return self._answer(*self._render(plan, arrays, parts), parts)
        header = plan.rendered.get(tuple(key))
        if header is None:
            header = self._render(plan, arrays, parts)
            if len(plan.rendered) < _KEPT_HEADERS:
                plan.rendered[tuple(key)] = header
        return self._answer(*header, parts)

    def _answer(self, lines: bytes, header: bytes, parts: list[Any]) -> Answer:
        return Answer(200, lines, (header, *parts), len(header) + sum(part.nbytes for part in parts))

    def _render(self, plan: Plan, arrays: Sequence[NDArray[Any]], parts: Sequence[Any]) -> tuple[bytes, bytes]:
        sizes = iter(parts)
        outputs = []
        for (_, spec, binary), array in zip(plan.wanted, arrays, strict=True):
            datatype = BY_DTYPE.get("str" if array.dtype.kind in "OSU" else array.dtype.name)
            if datatype is None:
                raise Refusal(500, f"output {spec.name!r} is of type {array.dtype}, which the protocol does not know")
            output: dict[str, object] = {"name": spec.name, "datatype": datatype, "shape": list(array.shape)}
            if binary:
                output["parameters"] = {"binary_data_size": next(sizes).nbytes}
            else:
                output["data"] = _plain(array)
            outputs.append(output)
        document = {"model_name": self._name, "model_version": self._version, "outputs": outputs}
        if plan.id:
            document["id"] = plan.id
        try:
            answer = json_answer(document)
        except ValueError as err:
            raise Refusal(500, "the model answered NaN or infinity, which JSON cannot carry") from err
        header = bytes(answer.parts[0])
        if not parts:
            return answer.headers, header
        return BINARY_TYPE + b"Inference-Header-Content-Length: %d\r\n" % len(header), header


def _blob(array: NDArray[Any]) -> NDArray[Any] | memoryview:
    """The bytes of an output; an array is sent from where it lies."""
    if array.dtype.kind in "OSU":
        return memoryview(join_strings(array))
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _plain(array: NDArray[Any]) -> list[object]:
    flat: list[object] = array.ravel().tolist()
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in flat]


def _lying(described: Described, size: object, offset: int) -> _Lying:
    name = described.spec.name
    if type(size) is not int or size < 0:
        raise Refusal(400, f"input {name!r}: binary_data_size is no whole number")
    if described.spec.dtype == "str":
        return _Lying(described, None, offset, size, floating=False)
    dtype = np.dtype(described.spec.dtype).newbyteorder("<")
    needed = described.count * dtype.itemsize
    if size != needed:
        raise Refusal(400, f"input {name!r}: binary_data_size is {size}, type and shape want {needed}")
    return _Lying(described, dtype, offset, size, floating=dtype.kind == "f")


def _object(header: bytes) -> dict[str, Any]:
    try:
        document = json.loads(header, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise Refusal(400, f"the body is no JSON: {str(err)[:200] or 'nested too deeply'}") from err
    if not isinstance(document, dict):
        raise Refusal(400, "the body is no JSON object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _by_name(items: object, what: str) -> dict[str, dict[str, Any]]:
    if not isinstance(items, list) or not items:
        raise Refusal(400, f"`{what}` is no list of tensors")
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Refusal(400, f"an entry of `{what}` is no object with a name")
        if item["name"] in found:
            raise Refusal(400, f"{item['name'][:200]!r} is twice in `{what}`")
        found[item["name"]] = item
    return found


def _parameters(item: dict[str, Any]) -> dict[str, Any]:
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Refusal(400, "`parameters` is no object")
    return parameters


def _id(document: dict[str, Any]) -> str:
    given = document.get("id", "")
    if not isinstance(given, str) or len(given) > _MAX_ID:
        raise Refusal(400, f"`id` is no string of at most {_MAX_ID} characters")
    return given
