"""Small real models, and malicious samples that can do no harm: they name a dangerous import and nobody loads them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def an_onnx_model(*, inputs: int = 4, outputs: int = 2, layers: int = 1, seed: int = 7) -> bytes:
    """A dense network `x: float[batch, inputs]` -> `y: float[batch, outputs]`; more layers are slower."""
    generator = np.random.default_rng(seed)
    widths = [inputs] * layers + [outputs]
    weights = [
        numpy_helper.from_array(generator.standard_normal((rows, columns)).astype(np.float32) / rows, f"w{number}")
        for number, (rows, columns) in enumerate(pairwise(widths))
    ]
    names = ["x", *(f"h{number}" for number in range(1, layers)), "y"]
    nodes = [helper.make_node("MatMul", [names[number], f"w{number}"], [names[number + 1]]) for number in range(layers)]
    return a_graph(nodes, weights, inputs=inputs, outputs=outputs)


def a_graph(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto] = [],  # noqa: B006  # never changed
    *,
    inputs: int = 4,
    outputs: int = 4,
    domains: Mapping[str, int] | None = None,
) -> bytes:
    """An ONNX file around any nodes, from `x` to `y`."""
    graph = helper.make_graph(
        nodes,
        "sample",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
        weights,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in ({"": 17} | dict(domains or {})).items()]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def a_model_with_external_data(location: str) -> bytes:
    """An ONNX file whose weights are said to lie in another file."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w0")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return a_graph([helper.make_node("MatMul", ["x", "w0"], ["y"])], [weight])


def a_safetensors_file(**tensors: np.ndarray) -> bytes:
    """A safetensors file of float32 tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "np"}}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.astype(np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def an_array_file(array: np.ndarray) -> bytes:
    """A `.npy` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def a_pickle_that_calls(module: str, name: str, argument: str = "true", *, protocol: int = 2) -> bytes:
    """A pickle that would import a name and call it with one string, written by hand so that nothing is imported."""
    text = argument.encode()
    if protocol < 2:
        return f"c{module}\n{name}\n(V{argument}\ntR.".encode()
    push = b"X" + len(text).to_bytes(4, "little") + text
    if protocol < 4:
        return b"\x80" + bytes([protocol]) + f"c{module}\n{name}\n".encode() + b"(" + push + b"tR."
    names = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() + b"\x94" for part in (module, name))
    return b"\x80" + bytes([protocol]) + names + b"\x93" + push + b"\x85R."


def a_torch_file(data: bytes, *, tensor: bytes = b"\x80\x02" * 512) -> bytes:
    """A torch zip with a given pickle inside; the tensor's bytes look like a pickle and are none."""
    return a_zip({"archive/data.pkl": data, "archive/data/0": tensor, "archive/version": b"3\n"})


def a_zip(members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def a_tar(members: Mapping[str, bytes], *, link: str | None = None) -> bytes:
    """A tar archive, with a symbolic link to somewhere if asked."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, link
            archive.addfile(info)
    return stream.getvalue()


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write an artifact's files; returns the folder."""
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder
