"""Graphs that reach out: ONNX, TensorFlow SavedModel, TFLite, GGUF with chat templates, safetensors that are none.

Sources: CVE-2024-34359 (templates in GGUF), CVE-2022-25882, CVE-2024-5187 and CVE-2024-27318 (paths of ONNX's external
data), TensorFlow's own SECURITY.md (models are programs), modelscan's and modelaudit's lists of operators.
"""

from __future__ import annotations

import json
import struct
from functools import partial

import flatbuffers
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.corpus.malicious_containers import torch_zip
from tests.support.corpus.malicious_pickles import BAD
from tests.support.corpus.sample import Sample

# ---------------------------------------------------------------------------------------------------------------- ONNX


def onnx_model(*nodes: onnx.NodeProto, tensor: TensorProto | None = None, domains: tuple[str, ...] = ()) -> bytes:
    """A model of an identity and whatever is given."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    own = nodes or (helper.make_node("Identity", ["x"], ["y"]),)
    graph = helper.make_graph(own, "g", [x], [y], [tensor] if tensor else [])
    opsets = [helper.make_opsetid(name, 1) for name in domains]
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *opsets]).SerializeToString())


def external(location: str, offset: str = "0") -> TensorProto:
    """A tensor whose bytes lie elsewhere."""
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def _constant_outside() -> bytes:
    return onnx_model(helper.make_node("Constant", [], ["y"], value=external("../../../etc/passwd")))


def _branch_outside() -> bytes:
    """The outside tensor is in a branch of an `If`, below the graph that readers look at."""
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, [4])
    node = helper.make_node("Identity", ["w"], ["z"])
    branch = helper.make_graph([node], "b", [], [out], [external("../secret")])
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    return onnx_model(condition, helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))


def _function_outside() -> bytes:
    model = onnx.load_from_string(onnx_model(helper.make_node("F", ["x"], ["y"], domain="local"), domains=("local",)))
    body = [helper.make_node("Constant", [], ["y"], value=external("../secret"))]
    model.functions.append(helper.make_function("local", "F", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    return bytes(model.SerializeToString())


def _python_operator(domain: str, name: str) -> bytes:
    return onnx_model(helper.make_node(name, ["x"], ["y"], domain=domain, code="0"), domains=(domain,))


def _context_outside() -> bytes:
    domain = "com.microsoft"
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain=domain, embed_mode=0, ep_cache_context="../../lib/evil.so", source="QNN"
    )
    return onnx_model(node, domains=(domain,))


def _onnx() -> list[Sample]:
    locations = {
        "up": "../../../etc/passwd", "absolute": "/etc/passwd", "windows": "C:\\Windows\\win.ini",
        "backslash": "..\\secret", "inside-out": "data/../../secret", "url": "file:///etc/passwd", "remote": "https://127.0.0.1/x.bin",
    }  # fmt: skip
    made = [
        Sample(f"outside-{name}.onnx", partial(lambda where: onnx_model(tensor=external(where)), where), "onnx.")
        for name, where in locations.items()
    ]
    return [
        *made,
        Sample("outside-constant.onnx", _constant_outside, "onnx."),
        Sample("outside-branch.onnx", _branch_outside, "onnx."),
        Sample("outside-function.onnx", _function_outside, "onnx."),
        Sample("python-operator.onnx", partial(_python_operator, "ai.onnx.contrib", "PyOp"), "onnx."),
        Sample("python-operator-torch.onnx", partial(_python_operator, "com.microsoft", "PythonOp"), "onnx."),
        Sample("context-outside.onnx", _context_outside, "onnx."),
    ]


# --------------------------------------------------------------------------------------------------- TensorFlow, TFLite


def field(number: int, value: bytes | str | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def saved_model(*operators: str, in_function: bool = False, tag: str = "serve") -> bytes:
    """A SavedModel's protobuf with a node an operator, in the graph or in a function of its library."""
    nodes = [field(1, f"n{at}") + field(2, name) for at, name in enumerate(("Placeholder", *operators))]
    graph = b"".join(field(1, node) for node in (nodes[:1] if in_function else nodes))
    if in_function:
        body = field(1, field(1, "__inference_f")) + b"".join(field(3, node) for node in nodes)
        graph += field(2, field(1, body))
    meta = field(1, field(4, tag) + field(5, "2.21.0")) + field(2, graph + field(4, field(1, 1987)))
    return field(1, 1) + field(2, meta)


def _saved_model_folder(operator: str, *, in_function: bool = False) -> dict[str, bytes]:
    return {
        "saved_model.pb": saved_model("Identity", operator, in_function=in_function),
        "variables/variables.index": b"",
        "fingerprint.pb": field(1, 1),
    }


_LAMBDA = {
    "class_name": "Lambda",
    "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "4w=="}}},
}


def _keras_metadata() -> dict[str, bytes]:
    layers = json.dumps({"class_name": "Functional", "config": {"layers": [_LAMBDA]}})
    node = field(2, 0) + field(3, "root") + field(4, "_tf_keras_network") + field(5, layers)
    return {"saved_model.pb": saved_model("Identity"), "keras_metadata.pb": field(1, node)}


def _tensorflow() -> list[Sample]:
    grave = ("ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "PyFuncStateless", "MatchingFiles", "DebugIdentityV2")
    made = [
        Sample(f"saved-model-{name}", partial(_saved_model_folder, name), "tensorflow.|savedmodel.") for name in grave
    ]
    made.append(
        Sample(
            "saved-model-function",
            partial(_saved_model_folder, "WriteFile", in_function=True),
            "tensorflow.|savedmodel.",
        )
    )
    # The tag's length makes it begin like a CoreML model, which is a protocol buffer without magic too.
    alike = {"saved_model.pb": saved_model("ReadFile", in_function=True, tag="x" * 1300)}
    made.append(Sample("saved-model-like-coreml", lambda: alike, "tensorflow."))
    return [*made, Sample("saved-model-lambda", _keras_metadata, "tensorflow.|savedmodel.|keras.")]


def tflite(*custom: str) -> bytes:
    """A TFLite model that declares custom operators, each used once."""
    builder = flatbuffers.Builder(0)
    codes = [_operator_code(builder, name) for name in custom]
    operators = [_table(builder, 1, lambda at=at: builder.PrependUint32Slot(0, at, 0)) for at in range(len(custom))]
    operators_at = _vector(builder, operators)
    subgraph = _table(builder, 5, lambda: builder.PrependUOffsetTRelativeSlot(3, operators_at, 0))
    codes_at, subgraphs_at, buffers_at = _vector(builder, codes), _vector(builder, [subgraph]), _vector(builder, [])
    description = builder.CreateString("made for a test")

    def fill() -> None:
        builder.PrependUint32Slot(0, 3, 0)
        for slot, at in ((1, codes_at), (2, subgraphs_at), (3, description), (4, buffers_at)):
            builder.PrependUOffsetTRelativeSlot(slot, at, 0)

    builder.Finish(_table(builder, 8, fill), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _operator_code(builder: flatbuffers.Builder, name: str) -> int:
    text = builder.CreateString(name)

    def fill() -> None:
        builder.PrependInt8Slot(0, 32, 0)
        builder.PrependUOffsetTRelativeSlot(1, text, 0)
        builder.PrependInt32Slot(2, 1, 0)
        builder.PrependInt32Slot(3, 32, 0)

    return _table(builder, 4, fill)


def _table(builder: flatbuffers.Builder, slots: int, fill: object) -> int:
    builder.StartObject(slots)
    assert callable(fill)
    fill()
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _tflite() -> list[Sample]:
    flex = ("FlexWriteFile", "FlexReadFile", "FlexPyFunc", "FlexEagerPyFunc")
    return [Sample(f"{name}.tflite", partial(tflite, name), "tflite.|tensorflow.") for name in flex]


# ---------------------------------------------------------------------------------------------- GGUF and chat templates

_POPEN = "os.popen('true').read()"
TEMPLATES = {
    "cycler": "{{ cycler.__init__.__globals__." + _POPEN + " }}",
    "joiner": "{{ joiner.__init__.__globals__." + _POPEN + " }}",
    "lipsum": "{{ lipsum.__globals__['os'].popen('true').read() }}",
    "subclasses": "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "loop": "{% for c in [].__class__.__base__.__subclasses__() %}{% if c.__name__ == 'catch_warnings' %}"
    "{{ c()._module.__builtins__['__import__']('os').system('true') }}{% endif %}{% endfor %}",
    "attr-filter": "{{ ()|attr('__class__')|attr('__base__')|attr('__subclasses__')() }}",
    "attr-joined": "{{ ()|attr('__cla'~'ss__')|attr('__ba' + 'se__') }}",
    "attr-reversed": "{{ ()|attr('__ssalc__'|reverse) }}",
    "attr-format": "{{ ()|attr('%s%s%s' % ('__', 'class', '__')) }}",
    "hex": "{{ ()['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "self": "{{ self._TemplateReference__context.cycler.__init__.__globals__.os }}",
    "namespace": "{{ namespace.__init__.__globals__.os.system('true') }}",
    "request": "{{ request.application.__globals__.__builtins__.__import__('os').popen('true') }}",
    "set": "{% set x = messages.__class__.__mro__[1].__subclasses__() %}{{ x }}",
    "map-attribute": "{{ [()]|map(attribute='__class__')|list }}",
    "behind-honest": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{{ ''.__class__.mro() }}",
    "include": "{% include '/etc/passwd' %}",
}


def gguf(**texts: str) -> bytes:
    """A GGUF file of texts and one tensor."""
    pairs = {"general.architecture": "llama", **texts}
    body = b"".join(_gguf_text(key) + struct.pack("<I", 8) + _gguf_text(value) for key, value in pairs.items())
    tensor = _gguf_text("w") + struct.pack("<IQIQ", 1, 8, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + body + tensor
    return head + bytes(-len(head) % 32) + bytes(32)


def _gguf_text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _gguf() -> list[Sample]:
    rule = "gguf.|template.|jinja.|text.|config."
    made = [
        Sample(f"{name}.gguf", partial(lambda text: gguf(**{"tokenizer.chat_template": text}), text), rule)
        for name, text in TEMPLATES.items()
    ]
    files = {
        "tokenizer-config": ("tokenizer_config.json", TEMPLATES["cycler"]),
        "tokenizer-config-named": ("tokenizer_config.json", [{"name": "t", "template": TEMPLATES["lipsum"]}]),
        "tokenizer-config-hex": ("tokenizer_config.json", TEMPLATES["hex"]),
        "chat-template-json": ("chat_template.json", TEMPLATES["loop"]),
    }
    made += [Sample(name, partial(_template_file, *told), rule) for name, told in files.items()]
    return [
        *made,
        Sample("named-template.gguf", lambda: gguf(**{"tokenizer.chat_template.tool_use": TEMPLATES["cycler"]}), rule),
        Sample("chat-template-file", lambda: {"chat_template.jinja": TEMPLATES["subclasses"].encode()}, rule),
    ]


def _template_file(path: str, template: object) -> dict[str, bytes]:
    return {path: json.dumps({"chat_template": template}).encode()}


# ------------------------------------------------------------------------------------------------------- safetensors


def safetensors(tail: bytes = b"", **metadata: str) -> bytes:
    """One tensor of sixteen bytes."""
    header = json.dumps({
        "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, **({"__metadata__": metadata} if metadata else {})
    }).encode()  # fmt: skip
    return struct.pack("<Q", len(header)) + header + bytes(16) + tail


def _safetensors() -> list[Sample]:
    return [
        Sample("zip-tail.safetensors", lambda: safetensors(torch_zip(BAD)), "safetensors.|archive.|pickle."),
        Sample("pickle-as.safetensors", lambda: BAD, "pickle.|folder."),
        Sample("zip-as.safetensors", lambda: torch_zip(BAD), "pickle.|folder."),
    ]


def samples() -> list[Sample]:
    """All of them."""
    return [*_onnx(), *_tensorflow(), *_tflite(), *_gguf(), *_safetensors()]
