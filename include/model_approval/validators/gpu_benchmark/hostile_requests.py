"""Requests that no model server may stumble over, made from the model's own signature. Pure: nothing is sent here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.open_inference import HEADER_LENGTH, Arrays, encode_infer

_HUGE = 2**40
_DEPTH = 100_000
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Hostile:
    """One request."""

    name: str
    """Short and stable: part of a finding's fingerprint."""
    what: str
    """In words, as the object of "sent"."""
    data: bytes
    """All bytes of it, head included."""
    may_pass: bool = False
    """Whether an honest server may answer it with a result."""
    may_close: bool = False
    """Whether closing the connection is an answer: what is no HTTP, or lies about its length."""
    may_wait: bool = False
    """Whether waiting for more is an answer: the announced body has not come."""


def hostile_requests(endpoint: Endpoint, inputs: Arrays) -> list[Hostile]:
    """All of them for one model.

    Args:
        endpoint: Knows the model's name and how a request is rendered.
        inputs: A request that the model answers.
    """
    maker = _Maker(endpoint, inputs)
    return [*maker.bodies(), *maker.headers(), *maker.tensors(), *maker.sizes(), *maker.numbers(), *maker.transport()]


class _Maker:
    def __init__(self, endpoint: Endpoint, inputs: Arrays) -> None:
        self._endpoint, self._inputs = endpoint, inputs
        body, length = encode_infer(inputs)
        self._header: dict[str, Any] = json.loads(body[:length])
        self._tensors = body[length:]
        self._first = self._header["inputs"][0]

    def bodies(self) -> Iterator[Hostile]:
        """Bodies that are no request."""
        yield Hostile("empty-body", "an empty body", self._json(b""))
        yield Hostile("cut-json", "JSON that breaks off", self._json(b'{"inputs": ['))
        yield Hostile("no-object", "JSON that is no object", self._json(b"[1, 2, 3]"))
        yield Hostile("no-inputs", "a request without inputs", self._json(b'{"inputs": []}'))
        yield Hostile("deep-json", f"{_DEPTH} nested lists", self._json(b"[" * _DEPTH + b"]" * _DEPTH))
        yield Hostile("no-text", "bytes that are no UTF-8", self._json(b'{"inputs": "\xff\xfe"}'))
        yield Hostile("unnamed-model", "a request for a model of another name", self._elsewhere())

    def headers(self) -> Iterator[Hostile]:
        """Binary requests whose JSON header lies about itself."""
        body = json.dumps(self._header).encode() + self._tensors
        for name, length in (("long-header", str(len(body) + 1)), ("negative-header", "-1"), ("wordy-header", "many")):
            what = f"a JSON header said to be {length} bytes long in a body of {len(body)}"
            yield Hostile(name, what, self._render(body, {HEADER_LENGTH: length}))

    def tensors(self) -> Iterator[Hostile]:
        """Tensors that are not the model's, or not what they say."""
        shape = list(self._first["shape"])
        renamed = f"{self._first['name']}_{'x' * 8}"
        yield self._changed("unknown-input", "an input that the model does not have", name=renamed)
        yield self._changed("unknown-type", "a data type that does not exist", datatype="FP31")
        other = "INT64" if self._first["datatype"] != "INT64" else "FP64"
        yield self._changed("wrong-type", f"{other} where the model takes {self._first['datatype']}", datatype=other)
        yield self._changed("wrong-rank", "a shape with a dimension more", shape=[*shape, 1])
        if not shape:
            return
        yield self._changed("wrong-shape", "a shape with a dimension doubled", shape=[*shape[:-1], 2 * shape[-1]])
        yield self._changed("negative-shape", "a negative shape", shape=[-1, *shape[1:]])
        yield self._changed("huge-shape", f"a first dimension of {_HUGE}", shape=[_HUGE, *shape[1:]])
        yield self._changed("overflowing-shape", "a shape of more than 2**64 values", shape=[_HUGE] * len(shape))
        yield self._changed("wordy-shape", "a shape in words", shape=["many"] * len(shape))

    def sizes(self) -> Iterator[Hostile]:
        """Tensors that are not as long as they say."""
        size = self._first["parameters"]["binary_data_size"]
        yield self._sized("negative-size", "a negative tensor size", -size)
        yield self._sized("huge-size", f"a tensor size of {_HUGE}", _HUGE)
        yield Hostile("cut-tensor", "a tensor without its last byte", self._binary(self._header, self._tensors[:-1]))
        yield Hostile("long-tensor", "a tensor with bytes to spare", self._binary(self._header, self._tensors + b"12"))
        yield Hostile("no-tensor", "a header without its tensors", self._binary(self._header, b""))

    def numbers(self) -> Iterator[Hostile]:
        """Values that are no numbers, in JSON and in binary."""
        import numpy as np

        values: tuple[tuple[str, list[object]], ...] = (("words", ["a"]), ("nulls", [None]), ("objects", [{}]))
        for name, data in values:
            item = {key: self._first[key] for key in ("name", "shape", "datatype")} | {"data": data}
            if self._first["datatype"] == "BYTES" and name == "words":
                continue
            document = {"inputs": [item, *self._header["inputs"][1:]]}
            yield Hostile(f"{name}-as-data", f"{name} where numbers belong", self._json(json.dumps(document).encode()))
        for name, value in (("nan", np.nan), ("infinity", np.inf)):
            filled = {
                key: np.full_like(array, value) if array.dtype.kind == "f" else array
                for key, array in self._inputs.items()
            }
            if any(array.dtype.kind == "f" for array in filled.values()):
                request = self._endpoint.prepare(filled).data
                yield Hostile(name, f"{name} in every floating input", request, may_pass=True)

    def transport(self) -> Iterator[Hostile]:
        """What is no HTTP, or no honest one."""
        head = self._endpoint.render("POST", self._path(), b"", {"X": "x"}).partition(b"Content-Length")[0]
        announced = head + b"Content-Length: %d\r\n\r\n{" % _HUGE
        yield Hostile("oversized-body", f"a body announced as {_HUGE} bytes", announced, may_close=True, may_wait=True)
        both = head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        yield Hostile("two-lengths", "a length beside a transfer coding", both, may_close=True)
        chunk = head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n"
        yield Hostile("broken-chunk", "a chunk whose size is no number", chunk, may_close=True)
        yield Hostile("no-http", "bytes that are no HTTP", b"\x16\x03\x01\x02\x00\r\n\r\n" * 4, may_close=True)
        long = self._endpoint.render("GET", self._path(), b"", {"X-Long": "x" * 1024**2})
        yield Hostile("long-head", "a head of 1 MiB", long, may_close=True)

    def _path(self) -> str:
        return f"/v2/models/{self._endpoint.model}/infer"

    def _render(self, body: bytes, headers: dict[str, str]) -> bytes:
        return self._endpoint.render("POST", self._path(), body, headers)

    def _json(self, body: bytes) -> bytes:
        return self._render(body, _JSON)

    def _elsewhere(self) -> bytes:
        return self._endpoint.render("POST", "/v2/models/no-such-model/infer", b'{"inputs": []}', _JSON)

    def _binary(self, header: dict[str, Any], tensors: bytes) -> bytes:
        text = json.dumps(header).encode()
        return self._render(text + tensors, {HEADER_LENGTH: str(len(text))})

    def _changed(self, case: str, what: str, **fields: object) -> Hostile:
        """A request whose first input is described otherwise."""
        header = {**self._header, "inputs": [{**self._first, **fields}, *self._header["inputs"][1:]]}
        return Hostile(case, what, self._binary(header, self._tensors))

    def _sized(self, name: str, what: str, size: int) -> Hostile:
        return self._changed(name, what, parameters={"binary_data_size": size})
