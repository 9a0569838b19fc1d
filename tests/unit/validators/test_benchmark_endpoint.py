"""The measuring program's client, against a fake server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.endpoint import Endpoint, ServerGoneError
from model_approval.validators.gpu_benchmark.open_inference import decode_infer, encode_infer
from tests.support.v2_server import V2Server, http, v2_server

pytestmark = pytest.mark.unit
_X = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[V2Server]:
    with v2_server(tmp_path) as server:
        yield server


@pytest.fixture
def endpoint(server: V2Server) -> Iterator[Endpoint]:
    endpoint = Endpoint.at(server.where, timeout_s=5.0)
    yield endpoint
    endpoint.close()


def test_arrays_go_out_and_come_back(endpoint: Endpoint) -> None:
    prepared = endpoint.prepare(_X)
    assert prepared.samples == 2
    np.testing.assert_array_equal(endpoint.infer(prepared).outputs()["y"], _X["x"] * 2)


def test_one_connection_serves_many_requests_and_each_is_timed(endpoint: Endpoint, server: V2Server) -> None:
    prepared = endpoint.prepare(_X)
    assert all(endpoint.time(prepared) > 0 for _ in range(20))
    assert server.asked == 20


def test_the_metadata_tells_inputs_outputs_and_what_else_the_server_says(endpoint: Endpoint) -> None:
    metadata = endpoint.metadata()
    assert [(one.name, one.datatype, one.shape) for one in metadata.inputs] == [("x", "FP32", (-1, 4))]
    assert metadata.parameters["device"] == "cpu"
    assert endpoint.ready()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(422, b'{"error": "shape [1] is wrong"}'), r"answered 422: shape \[1\] is wrong"),
        (http(500, b"\x00oops"), "answered 500: oops"),
        (b"SSH-2.0-x\r\n\r\n", r"does not speak HTTP/1\.1"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no usable Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxx", "more than it announced"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "not chunked as it says"),
        (b"", "closed the connection without an answer"),
    ],
)
def test_what_is_no_good_answer_is_told_in_words(
    endpoint: Endpoint, server: V2Server, answer: bytes, words: str
) -> None:
    server.infer = lambda head, body: answer
    with pytest.raises(EvidenceError, match=f"candidate: .*{words}"):
        endpoint.time(endpoint.prepare(_X))


def test_after_a_broken_answer_the_next_request_makes_a_new_connection(endpoint: Endpoint, server: V2Server) -> None:
    honest, server.infer = server.infer, lambda head, body: b""
    with pytest.raises(ServerGoneError):
        endpoint.infer(endpoint.prepare(_X))
    server.infer = honest
    assert endpoint.infer(endpoint.prepare(_X)).status == 200


def test_a_chunked_answer_is_put_together(endpoint: Endpoint, server: V2Server) -> None:
    server.infer = lambda head, body: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    )
    assert endpoint.infer(endpoint.prepare(_X)).body == b"abcde"


@pytest.mark.parametrize(
    "size", [b"-5", b"+5", b"0x5", b"1_0", b" 5", b"", b"5" * 17, b"5;" + b"x" * 5000, b"4", b"x" * 9000]
)
def test_a_chunk_of_no_honest_size_is_refused(endpoint: Endpoint, server: V2Server, size: bytes) -> None:
    server.infer = lambda head, body: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabcde\r\n"
    with pytest.raises(EvidenceError, match="not chunked as it says"):
        endpoint.infer(endpoint.prepare(_X))


def test_a_chunk_over_the_limit_is_refused_before_it_is_read(endpoint: Endpoint, server: V2Server) -> None:
    server.infer = lambda head, body: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000001\r\nabc"
    with pytest.raises(EvidenceError, match="longer than 1073741824 bytes"):
        endpoint.infer(endpoint.prepare(_X))


def test_a_server_that_does_not_answer_is_given_up(server: V2Server) -> None:
    server.infer = lambda head, body: b"HTTP/1.1 200 OK\r\n"
    endpoint = Endpoint.at(server.where, timeout_s=0.05)
    with pytest.raises(ServerGoneError, match=r"no answer within 0\.05 s"):
        endpoint.infer(endpoint.prepare(_X))


def test_where_nobody_listens_is_told(tmp_path: Path) -> None:
    endpoint = Endpoint.at(str(tmp_path / "none.sock"))
    assert not endpoint.ready()
    with pytest.raises(ServerGoneError, match="no model server at"):
        endpoint.metadata()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "float64"])
def test_each_kind_of_number_survives_the_wire(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    body, length = encode_infer({"t": array})
    header = body[:length].replace(b'"inputs"', b'"outputs"')
    back = decode_infer(header + body[length:], len(header), who="candidate")["t"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_strings_survive_the_wire() -> None:
    body, length = encode_infer({"t": np.array(["a", "", "wörter"], dtype=object)})
    header = body[:length].replace(b'"inputs"', b'"outputs"')
    assert decode_infer(header + body[length:], len(header), who="x")["t"].tolist() == [b"a", b"", "wörter".encode()]


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"outputs": 3}',
        b'{"outputs": [{"name": "y"}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": 8}}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP3", "shape": [1], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]}',
    ],
)
def test_an_answer_that_breaks_the_protocol_is_no_output(header: bytes) -> None:
    with pytest.raises(EvidenceError, match="candidate"):
        decode_infer(header + b"\x09\x00\x00\x00\x00\x00\x00\x00", len(header), who="candidate")


def test_a_connection_that_the_server_closed_while_it_was_idle_is_made_anew(server: V2Server) -> None:
    server.infer, honest = (lambda head, body: http(200, b"last", "Connection: keep-alive\r\n")), server.infer
    endpoint = Endpoint.at(server.where, timeout_s=5.0, idle_s=-1.0)
    endpoint.infer(endpoint.prepare(_X))
    server.hang_up()
    server.infer = honest
    assert endpoint.infer(endpoint.prepare(_X)).status == 200
    endpoint.close()
