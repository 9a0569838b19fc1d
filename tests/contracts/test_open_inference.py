"""The model server over a Unix socket: the Open Inference Protocol, and what nobody may bring it down with."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.model_servers import INFER, UnixServer, read_answer, request, unix_server
from tests.support.models import an_onnx_model, write_folder

pytestmark = pytest.mark.contract

_KINDS = {
    "BOOL": (TensorProto.BOOL, np.bool_), "INT8": (TensorProto.INT8, np.int8), "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32), "INT64": (TensorProto.INT64, np.int64),
    "UINT8": (TensorProto.UINT8, np.uint8), "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32), "UINT64": (TensorProto.UINT64, np.uint64),
    "FP16": (TensorProto.FLOAT16, np.float16), "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64), "BYTES": (TensorProto.STRING, np.object_),
}  # fmt: skip
_GOOD = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}


def _an_echo_model() -> bytes:
    """Every type in, the same out."""
    kinds = {kind: onnx_kind for kind, (onnx_kind, _) in _KINDS.items()}
    inputs = [helper.make_tensor_value_info(f"in_{kind}", onnx_kind, [None]) for kind, onnx_kind in kinds.items()]
    outputs = [helper.make_tensor_value_info(f"out_{kind}", onnx_kind, [None]) for kind, onnx_kind in kinds.items()]
    nodes = [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in _KINDS]
    graph = helper.make_graph(nodes, "echo", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _a_model_that_fails() -> bytes:
    """`Reshape` of `x` into as many columns as `n` says: fails inside for most values."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "n"], ["y"])],
        "fails",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("n", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(model))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnixServer]:
    """A server of `x: float[batch, 4]` -> `y: float[batch, 2]` with bodies of at most 1 MiB."""
    folder = tmp_path_factory.mktemp("v2")
    artifact = write_folder(folder / "artifact", {"model.onnx": an_onnx_model()})
    with unix_server(folder, artifact, "--max-body-mib", "1", "--threads", "1") as running:
        yield running


def test_metadata_tell_name_version_types_and_shapes(server: UnixServer) -> None:
    told = server.ask("GET", "/v2/models/model").document
    assert (told["name"], told["versions"], told["platform"]) == ("model", ["1"], "onnxruntime")
    assert {"name": "x", "datatype": "FP32", "shape": [-1, 4]}.items() <= told["inputs"][0].items()
    assert {"name": "y", "datatype": "FP32", "shape": [-1, 2]}.items() <= told["outputs"][0].items()
    assert (len(told["inputs"]), len(told["outputs"])) == (1, 1)
    assert told["parameters"]["device"] == "cpu"
    assert server.ask("GET", "/v2/models/model/versions/1").document == told


def test_the_server_tells_which_locks_hold_it_and_when_it_came_how_far(server: UnixServer) -> None:
    told = server.ask("GET", "/v2").document
    assert told["extensions"] == ["binary_tensor_data"]
    locks = told["parameters"]["confinement"]
    assert set(locks) == {f"confinement.{name}" for name in ("limits", "capabilities", "landlock", "seccomp")}
    assert all(state.startswith("in force") for state in locks.values())
    assert "no sockets, no new processes" in locks["confinement.seccomp"]
    events = [json.loads(line) for line in server.events_file.read_text().splitlines()]
    names = [event["event"] for event in events]
    assert names[:4] == ["started", "listening", "confined", "loaded"]
    times = [event["monotonic_s"] for event in events]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/model/ready", 200),
        ("GET", "/v2/models/model/versions/1/ready", 200),
        ("HEAD", "/v2/health/live", 200),
        ("GET", "/healthz", 200),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/model/versions/2", 404),
        ("GET", "/v2/models/model/infer", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/nothing", 404),
    ],
)
def test_paths_and_methods(server: UnixServer, method: str, path: str, status: int) -> None:
    with server.connect() as client:
        client.sendall(request(method, path))
        assert client.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())


def test_json_and_binary_tensors_get_the_same_answer(server: UnixServer) -> None:
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    described = {"name": "x", "datatype": "FP32", "shape": [2, 4]}
    nested = server.infer({"id": "7", "inputs": [{**described, "data": values.tolist()}]}).document
    flat = server.infer({"inputs": [{**described, "data": values.ravel().tolist()}]}).document
    header = {"inputs": [{**described, "parameters": {"binary_data_size": 32}}]}
    asking = {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    binary = server.infer(header, values.tobytes())
    both = server.infer({**header, **asking}, values.tobytes())
    assert nested["id"] == "7"
    assert nested["outputs"] == flat["outputs"] == binary.document["outputs"]
    (output,) = both.document["outputs"]
    assert output == {"name": "y", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    assert np.frombuffer(both.binary, np.float32).tolist() == nested["outputs"][0]["data"]
    assert both.headers["content-type"] == "application/octet-stream"


def test_requests_on_one_connection_are_answered_one_by_one_even_when_sent_at_once(server: UnixServer) -> None:
    answers = []
    with server.connect() as client:
        for rows in (1, 2, 1, 3):
            values = np.full((rows, 4), rows, np.float32)
            header = json.dumps(_binary([rows, 4], 16 * rows)).encode()
            data = request("POST", INFER, header + values.tobytes(), Inference_Header_Content_Length=str(len(header)))
            client.sendall(data)
            answers.append(read_answer(client).document["outputs"][0])
        client.sendall(request("GET", "/v2/health/live") * 3)
        received = b""
        while received.count(b"HTTP/1.1 200") < 3 or not received.endswith(b"}"):
            received += client.recv(4096)
    assert [answer["shape"] for answer in answers] == [[1, 2], [2, 2], [1, 2], [3, 2]]
    assert answers[0]["data"] == answers[2]["data"]
    assert answers[1]["data"][:2] == pytest.approx([2 * value for value in answers[0]["data"]])


def test_every_datatype_comes_back_as_it_went(tmp_path) -> None:
    values: dict[str, np.ndarray] = {kind: np.array([0, 1, 1], dtype) for kind, (_, dtype) in _KINDS.items()}
    artifact = write_folder(tmp_path / "artifact", {"model.onnx": _an_echo_model()})
    blobs = {kind: value.tobytes() for kind, value in values.items()}
    blobs["BYTES"] = b"".join(struct.pack("<I", len(word)) + word for word in (b"", b"a", "\u00fc\u4e16".encode()))
    inputs = [
        {"name": f"in_{kind}", "datatype": kind, "shape": [3], "parameters": {"binary_data_size": len(blob)}}
        for kind, blob in blobs.items()
    ]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    with unix_server(tmp_path, artifact) as server:
        answer = server.infer(document, b"".join(blobs.values()))
        again = server.infer(document, b"".join(blobs.values()))
        refused = server.infer({"inputs": inputs}, b"".join(blobs.values()))
    assert [output["datatype"] for output in answer.document["outputs"]] == list(_KINDS)
    assert answer.binary == again.binary == b"".join(blobs.values())
    assert (refused.status, "FP16 has no form in JSON" in refused.document["error"]) == (400, True)


def _changed(**changes: object) -> dict[str, object]:
    return {"inputs": [{**_GOOD["inputs"][0], **changes}]}


def _binary(shape: object, size: object) -> dict[str, object]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": size}}]}


@pytest.mark.parametrize(
    ("document", "binary", "words"),
    [
        ([], None, "no JSON object"),
        ({}, None, "`inputs` is no list"),
        ({"inputs": [1]}, None, "no object with a name"),
        ({"inputs": _GOOD["inputs"] * 2}, None, "twice"),
        ({"inputs": [*_GOOD["inputs"], {"name": "z"}]}, None, "'z' is unknown"),
        ({"inputs": [{"name": "z"}]}, None, "is missing"),
        ({**_GOOD, "outputs": [{"name": "z"}]}, None, "output 'z' is unknown"),
        ({**_GOOD, "id": 7}, None, "`id`"),
        ({**_GOOD, "parameters": 7}, None, "`parameters`"),
        (_changed(datatype="FP64"), None, "wanted FP32"),
        (_changed(datatype=[1]), None, "wanted FP32"),
        (_changed(shape=[1, 5]), None, "wanted ['any', 4]"),
        (_changed(shape=[4]), None, "wanted ['any', 4]"),
        (_changed(shape=[-1, 4]), None, "no whole number above zero"),
        (_changed(shape=[0, 4]), None, "no whole number above zero"),
        (_changed(shape=[1.0, 4]), None, "no whole number above zero"),
        (_changed(shape=[True, 4]), None, "no whole number above zero"),
        (_changed(shape=[2**62, 4]), None, "no whole number above zero"),
        (_changed(shape=[2**39, 4]), None, "elements"),
        (_changed(shape=[1] * 10_000), None, "at most 32 sizes"),
        (_changed(shape="1,4"), None, "must be a list"),
        (_changed(data=[1, 2, 3]), None, "3 values, shape [1, 4] wants 4"),
        (_changed(data=[]), None, "0 values"),
        (_changed(data=[[1, 2], [3]]), None, "unequal length"),
        (_changed(data=["a", "b", "c", "d"]), None, "values must be float32"),
        (_changed(data=[1, 2, 3, 1e39]), None, "NaN or infinite"),
        (_changed(data=[1, 2, 3, None]), None, "values must be float32"),
        (_changed(data=None), None, "give `data`"),
        (_binary([1, 4], 16), None, "no Inference-Header-Content-Length"),
        (_binary([1, 4], 15), b"\0" * 15, "type and shape want 16"),
        (_binary([1, 4], -16), b"\0" * 16, "no whole number"),
        (_binary([1, 4], "16"), b"\0" * 16, "no whole number"),
        (_binary([1, 4], 16), b"\0" * 15, "its header tells of"),
        (_binary([1, 4], 16), b"\0" * 17, "its header tells of"),
        (_binary([1, 4], 16), b"", "its header tells of"),
        (_binary([2**36, 4], 2**40), b"\0" * 16, "its header tells of"),
        (_binary([1, 4], 16), struct.pack("<4f", 1, 2, 3, float("nan")), "NaN or infinite"),
        (_binary([1, 4], 16), struct.pack("<4f", 1, 2, float("-inf"), float("inf")), "NaN or infinite"),
    ],
)  # fmt: skip
def test_a_malformed_inference_is_told_what_is_wrong(
    server: UnixServer, document: object, binary: bytes | None, words: str
) -> None:
    answer = server.infer(document, binary)
    assert answer.status == 400
    assert list(answer.document) == ["error"]
    assert words in answer.document["error"]


def test_large_finite_values_are_not_taken_for_infinite(server: UnixServer) -> None:
    values = np.full((1, 4), 3e38, np.float32)
    answer = server.infer({**_binary([1, 4], 16), "parameters": {"binary_data_output": True}}, values.tobytes())
    assert answer.status == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 500_000, b'{"inputs": ' * 50_000, b"1" * 5_000, b"NaN"]
)
def test_a_body_that_is_no_json_is_refused(server: UnixServer, body: bytes) -> None:
    answer = server.ask("POST", INFER, body)
    assert answer.status == 400
    assert "JSON" in answer.document["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "", "0x10"])
def test_a_header_length_that_is_no_number_or_too_long_is_refused(server: UnixServer, length: str) -> None:
    assert server.ask("POST", INFER, b"{}", Inference_Header_Content_Length=length).status == 400
    assert server.ask("POST", INFER, b"{}", Inference_Header_Content_Length="3").status == 400


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\nB: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 65 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 20_000, 431),
        (b"POST /v2/models/model/infer HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"POST /v2/models/model/infer HTTP/1.1\r\nContent-Length: 999999999999999999999\r\n\r\n", 400),
        (b"POST /v2/models/model/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST /v2/models/model/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST /v2/models/model/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (b"POST /v2/models/model/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 5000, 400),
    ],
)  # fmt: skip
def test_a_request_that_is_no_http_is_refused_and_the_connection_ends(
    server: UnixServer, raw: bytes, status: int
) -> None:
    with server.connect() as client:
        client.sendall(raw)
        answer = read_answer(client)
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert client.recv(10) == b""


def test_a_body_in_chunks_is_a_body(server: UnixServer) -> None:
    body = json.dumps(_GOOD).encode()
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    chunks += b"0\r\nTrailer: x\r\n\r\n"
    with server.connect() as client:
        client.sendall(f"POST {INFER} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks)
        assert read_answer(client).status == 200
        client.sendall(request("GET", "/v2/health/live"))
        assert read_answer(client).document == {"live": True}


def test_a_client_that_waits_for_continue_is_told_to(server: UnixServer) -> None:
    body = json.dumps(_GOOD).encode()
    with server.connect() as client:
        client.sendall(request("POST", INFER, Expect="100-continue", Content_Length=str(len(body))))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert read_answer(client).status == 200


def test_clients_that_leave_in_the_middle_do_no_harm(server: UnixServer) -> None:
    data = request("POST", INFER, json.dumps(_GOOD).encode())
    for stop in range(1, len(data), 7):
        with server.connect() as client:
            client.sendall(data[:stop])
    assert server.infer(_GOOD).status == 200


def test_many_clients_at_once_are_all_answered(server: UnixServer) -> None:
    def ask(number: int) -> list[float]:
        values = np.full((1, 4), number, np.float32)
        with server.connect() as client:
            found = []
            for _ in range(20):
                header = json.dumps(_binary([1, 4], 16)).encode()
                fields = {"Inference_Header_Content_Length": str(len(header))}
                client.sendall(request("POST", INFER, header + values.tobytes(), **fields))
                found.append(read_answer(client).document["outputs"][0]["data"])
        assert all(item == found[0] for item in found)
        return list(found[0])

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(1, 33)))
    assert answers == [pytest.approx([number * value for value in answers[0]], rel=1e-5) for number in range(1, 33)]


def test_a_connection_too_many_replaces_the_one_that_has_waited_longest(tmp_path) -> None:
    artifact = write_folder(tmp_path / "artifact", {"model.onnx": an_onnx_model()})
    with unix_server(tmp_path, artifact, "--max-connections", "2") as server:
        first, second, third = (server.connect() for _ in range(3))
        with first, second, third:
            third.sendall(request("GET", "/v2/health/live"))
            assert read_answer(third).status == 200
            assert first.recv(10) == b""
            second.sendall(request("GET", "/v2/health/live"))
            assert read_answer(second).status == 200


def test_a_model_that_fails_answers_an_error_and_goes_on(tmp_path) -> None:
    artifact = write_folder(tmp_path / "artifact", {"model.onnx": _a_model_that_fails()})

    def ask(server: UnixServer, size: int) -> int:
        inputs = [
            {"name": "x", "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]},
            {"name": "n", "datatype": "INT64", "shape": [1], "data": [size]},
        ]
        return server.infer({"inputs": inputs}).status

    with unix_server(tmp_path, artifact) as server:
        assert [ask(server, size) for size in (4, 3, -7, 4)] == [200, 500, 500, 200]


def test_refused_requests_leave_no_memory_behind(server: UnixServer) -> None:
    def refuse(times: int) -> None:
        with server.connect() as client:
            for number in range(times):
                body = json.dumps({**_GOOD, "id": "x" * 300, "unknown": ["y" * 50_000, number]}).encode()
                client.sendall(request("POST", INFER, body))
                assert read_answer(client).status == 400

    refuse(50)
    before = server.resident_bytes()
    refuse(300)
    assert server.resident_bytes() - before < 8 * 1024**2


def test_an_artifact_without_a_model_ends_the_server_with_the_reason(tmp_path) -> None:
    artifact = write_folder(tmp_path / "artifact", {"readme.txt": b"hello"})
    with pytest.raises(AssertionError, match="no model that a runtime here knows"), unix_server(tmp_path, artifact):
        pass


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "runs code that came with it"), (["--allow-code"], "cannot import torch")]
)
def test_an_exported_program_needs_leave_and_torch(tmp_path, arguments: list[str], words: str) -> None:
    artifact = write_folder(tmp_path / "artifact", {"model.pt2": b"PK"})
    with pytest.raises(AssertionError, match=words), unix_server(tmp_path, artifact, *arguments):
        pass
