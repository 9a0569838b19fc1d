"""Pickles that hide what they call: the published ways past scanners, and the ones that their authors must think of.

Sources: the test suites and advisories of picklescan, fickling and modelaudit; "Sour Pickles" (Slaviero, 2011); the
"Safe Pickle" challenge; CVE-2025-1716, -1889, -1944, -1945, -10155, -10156, -10157; cpython issue 154848 (frames).
"""

from __future__ import annotations

import pickle
import struct
from functools import partial

from tests.support.corpus.assembler import Call, Name, assemble, push, text
from tests.support.corpus.sample import Sample

COMMAND = "true"
BAD = assemble(Call("os", "system", COMMAND), 2)
"""The pickle that other samples carry."""
BAD_4 = assemble(Call("os", "system", COMMAND), 4)
GOOD = assemble({"weights": [1, 2, 3], "name": "model"}, 4)
_CALLED = text(COMMAND) + pickle.TUPLE1 + pickle.REDUCE
_PROTO_4 = pickle.PROTO + b"\x04"
_SYSTEM = text("os") + text("system") + pickle.STACK_GLOBAL + _CALLED


def _put(value: str, index: int) -> bytes:
    return pickle.UNICODE + value.encode() + b"\n" + pickle.PUT + b"%d\n" % index + pickle.POP


def _names_from_memo() -> bytes:
    """Names kept out of order, decoys between them."""
    puts = b"".join(_put(*item) for item in (("os", 2), ("system", 3), ("torch", 0), ("LongStorage", 1)))
    gets = pickle.GET + b"2\n" + pickle.GET + b"3\n" + pickle.STACK_GLOBAL
    return puts + gets + pickle.MARK + b"Vtrue\n" + pickle.TUPLE + pickle.REDUCE + pickle.STOP


def _names_from_memo_then_spaces() -> bytes:
    return _names_from_memo() + b"\n\n\t\t"


def _name_overwritten() -> bytes:
    """The memo's slot says `torch` first and `os` when it is used."""
    first = text("torch") + pickle.BINPUT + b"\0" + pickle.POP
    then = text("os") + pickle.BINPUT + b"\0" + pickle.POP
    return _PROTO_4 + first + then + pickle.BINGET + b"\0" + text("system") + pickle.STACK_GLOBAL + _CALLED + b"."


def _names_as_strings() -> bytes:
    return b"S'os'\nS'system'\n" + pickle.STACK_GLOBAL + b"S'true'\n" + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP


def _names_as_short_binstrings() -> bytes:
    return b"\x80\x04U\x02osU\x06system\x93" + _CALLED + b"."


def _names_as_binstrings() -> bytes:
    return b"\x80\x04T\x02\0\0\0osT\x06\0\0\0system\x93" + _CALLED + b"."


def _names_escaped() -> bytes:
    return b"\x80\x04V\\u006fs\nVsy\\u0073tem\n\x93" + _CALLED + b"."


def _name_long_binunicode() -> bytes:
    return b"\x80\x04\x8d\x02\0\0\0\0\0\0\0os" + text("system") + pickle.STACK_GLOBAL + _CALLED + b"."


def _name_computed() -> bytes:
    """The name is the result of a call, so that no reader of operations can tell it."""
    name = push(Call("builtins", "str", "system"))
    return _PROTO_4 + text("os") + name + pickle.STACK_GLOBAL + _CALLED + b"."


def _name_behind_pops() -> bytes:
    return _PROTO_4 + text("os") + text("system") + b"N0" * 40 + pickle.STACK_GLOBAL + _CALLED + b"."


def _name_duplicated() -> bytes:
    """`code` as module and name, by duplication."""
    return _PROTO_4 + text("pdb") + pickle.DUP + pickle.STACK_GLOBAL + b"0" + text("pdb") + text("run") + (
        pickle.STACK_GLOBAL + text("0") + pickle.TUPLE1 + pickle.REDUCE + b"."
    )  # fmt: skip


def _pop_mark_decoy() -> bytes:
    return _PROTO_4 + pickle.MARK + text("torch") + text("FloatStorage") + pickle.POP_MARK + _SYSTEM + b"."


def _memo_key_error() -> bytes:
    start = _PROTO_4 + pickle.GLOBAL + b"os\nsystem\n" + pickle.UNICODE + b"true\n" + pickle.TUPLE1 + pickle.REDUCE
    return start + pickle.POP + text("os") + pickle.MEMOIZE + b"h\x03h\0" + pickle.STACK_GLOBAL + b"K\x42."


def _type_confusion() -> bytes:
    start = _PROTO_4 + pickle.GLOBAL + b"os\nsystem\n" + pickle.UNICODE + b"true\n" + pickle.TUPLE1 + pickle.REDUCE
    return start + pickle.POP + b"J\x2a\0\0\0\x94" + text("os") + b"\x94h\0h\x01\x93K\x42."


def _attributes_through_getattr() -> bytes:
    """`operator.attrgetter("system")(__import__("os"))("true")`, no dangerous pair of names in it."""
    function = Call(Call("operator", "attrgetter", "system"), "", Call("builtins", "__import__", "os"))
    return assemble(Call(function, "", COMMAND))


def _sour_pickle() -> bytes:
    return (
        b"c__builtin__\nglobals\n(tRp100\n0c__builtin__\ncompile\n(S'0'\nS''\nS'exec'\ntRp101\n0c__builtin__\neval\n"
        b"(g101\ng100\ntRp102\n0c__builtin__\ngetattr\n(c__builtin__\ndict\nS'get'\ntRp103\n0c__builtin__\napply\n"
        b"(g103\n(g100\nS'x'\nltRp104\n0g104\n."
    )


def _build_sets_attributes() -> bytes:
    """No REDUCE of anything dangerous: BUILD puts a function where the class looks for `__setstate__`."""
    made = push(Call("types", "SimpleNamespace"))
    state = pickle.MARK + text("__setstate__") + push(Name("os", "system")) + pickle.DICT
    return _PROTO_4 + made + state + pickle.BUILD + text(COMMAND) + pickle.BUILD + b"."


def _default_factory() -> bytes:
    """A dangerous function kept as a container's factory, called at the first look-up."""
    return assemble({"config": Call("collections", "defaultdict", Call("functools", "partial", Name("os", "system")))})


def _frame_straddle() -> bytes:
    """A frame that ends within the module's name: readers that keep to frames see another stream than the unpickler."""
    body = text("os")
    return _PROTO_4 + pickle.FRAME + struct.pack("<Q", len(body) - 1) + body + text("system") + b"\x93" + _CALLED + b"."


def _frame_too_long() -> bytes:
    return _PROTO_4 + pickle.FRAME + struct.pack("<Q", 2**40) + _SYSTEM + b"."


def _frame_in_frame() -> bytes:
    inner = pickle.FRAME + struct.pack("<Q", len(_SYSTEM) + 1) + _SYSTEM + b"."
    return _PROTO_4 + pickle.FRAME + struct.pack("<Q", len(inner)) + inner


def _second_after_good() -> bytes:
    return GOOD + BAD


def _tenth() -> bytes:
    return GOOD * 9 + BAD_4


def _second_protocol_0() -> bytes:
    return assemble({"a": 1}, 0) + assemble(Call("os", "system", COMMAND), 0)


def _header_in_the_middle() -> bytes:
    return _PROTO_4 + pickle.EMPTY_DICT + pickle.POP + pickle.PROTO + b"\x02" + pickle.PROTO + b"\x05" + _SYSTEM + b"."


def _no_header() -> bytes:
    return _SYSTEM + b"."


def _no_stop() -> bytes:
    return BAD[:-1]


def _unknown_operation_after() -> bytes:
    return BAD[:-1] + b"\xff\xfe."


def _broken_argument_after() -> bytes:
    return BAD[:-1] + b"X."


def _stack_underflow_after() -> bytes:
    return BAD[:-1] + pickle.POP * 9 + b"."


def _behind_long_bytes() -> bytes:
    return _PROTO_4 + pickle.BINBYTES + struct.pack("<I", 3_000_000) + bytes(3_000_000) + pickle.POP + _SYSTEM + b"."


def _behind_many_operations() -> bytes:
    return _PROTO_4 + b"N0" * 300_000 + _SYSTEM + b"."


def _behind_text_head() -> bytes:
    """Protocol 0, beginning with a text longer than what format detection looks at."""
    return pickle.UNICODE + b"A readme, it seems. " * 1000 + b"\n0" + assemble(Call("os", "system", COMMAND), 0)


def _dotted(module: str, name: str) -> bytes:
    return assemble(Call(module, name, COMMAND), 4)


def _nested(function: tuple[str, str], protocol: int = 4) -> bytes:
    return assemble(Call(*function, BAD), protocol)


def _reconstructor() -> bytes:
    return assemble(Call("copyreg", "_reconstructor", Name("subprocess", "Popen"), Name("builtins", "object"), None))


def _persistent_then_call() -> bytes:
    return _PROTO_4 + text("storage") + pickle.BINPERSID + pickle.POP + _SYSTEM + b"."


def _disguised_as_text() -> dict[str, bytes]:
    return {"README.txt": assemble(Call("os", "system", COMMAND), 0)}


def _built(module: str, name: str, **state: object) -> bytes:
    """An object made as pickle makes them, its state set by the class's own method."""
    return _PROTO_4 + push(Call(module, name, way="newobj")) + push(dict(state)) + pickle.BUILD + pickle.STOP


def _gadgets() -> dict[str, bytes]:
    """Names of well-known libraries that do what they are told: an allow-list must be narrower than the library."""
    memmap = Name("numpy", "memmap")
    truncated = ("weights.bin", "uint8", "w+", 0, 1)
    loopback = ("127.0.0.1", 9)
    return {
        # scipy executes the text that parses a distribution's arguments, statsmodels evaluates a formula
        "scipy-template": _built("scipy.stats._continuous_distns", "norm_gen", _parse_arg_template="0"),
        "statsmodels-formula": _built(
            "statsmodels.base.data",
            "PandasData",
            restore_model_spec=True,
            formula="y ~ I(__import__('os'))",
            frame=None,
        ),
        # other libraries' classes, by the name of the module that imports them
        "sklearn-client": assemble(Call("sklearn.callback._transport", "Client", loopback)),
        "sklearn-listener": assemble(Call("sklearn.callback._transport", "Listener", loopback)),
        # constructors that do more than keep their arguments
        "pandas-expression": assemble(Call("pandas.core.computation.expr", "Expr", "@f(0)")),
        "numpy-memmap": assemble(Call("numpy", "memmap", *truncated)),
        "torch-memmap": assemble(Call("torch._tensor", "_rebuild_from_type_v2", memmap, memmap, truncated, None)),
    }


def samples() -> list[Sample]:
    """All of them."""
    hidden = {
        "names-from-memo": _names_from_memo,
        "names-from-memo-then-spaces": _names_from_memo_then_spaces,
        "name-overwritten": _name_overwritten,
        "names-as-strings": _names_as_strings,
        "names-as-short-binstrings": _names_as_short_binstrings,
        "names-as-binstrings": _names_as_binstrings,
        "names-escaped": _names_escaped,
        "name-long-binunicode": _name_long_binunicode,
        "name-computed": _name_computed,
        "name-behind-pops": _name_behind_pops,
        "name-duplicated": _name_duplicated,
        "pop-mark-decoy": _pop_mark_decoy,
        "memo-key-error": _memo_key_error,
        "type-confusion": _type_confusion,
        "attributes-through-getattr": _attributes_through_getattr,
        "sour-pickle": _sour_pickle,
        "build-sets-attributes": _build_sets_attributes,
        "default-factory": _default_factory,
        "frame-straddle": _frame_straddle,
        "frame-too-long": _frame_too_long,
        "frame-in-frame": _frame_in_frame,
        "second-after-good": _second_after_good,
        "tenth": _tenth,
        "second-protocol-0": _second_protocol_0,
        "header-in-the-middle": _header_in_the_middle,
        "no-header": _no_header,
        "no-stop": _no_stop,
        "unknown-operation-after": _unknown_operation_after,
        "broken-argument-after": _broken_argument_after,
        "stack-underflow-after": _stack_underflow_after,
        "behind-long-bytes": _behind_long_bytes,
        "behind-many-operations": _behind_many_operations,
        "behind-text-head": _behind_text_head,
        "reconstructor": _reconstructor,
        "persistent-then-call": _persistent_then_call,
        "extension-1": lambda: b"\x80\x02\x82\x01)R.",
        "extension-2": lambda: b"\x80\x02\x83\x01\x01)R.",
        "extension-4": lambda: b"\x80\x02\x84\x01\0\0\x01)R.",
        "way-inst": lambda: assemble(Call("os", "system", COMMAND, way="inst"), 0),
        "way-inst-exec": lambda: b"(S'0'\ni__builtin__\nexec\n.",
        "way-obj": lambda: assemble(Call("os", "system", COMMAND, way="obj"), 1),
        "way-newobj": lambda: assemble(Call("subprocess", "Popen", ["true"], way="newobj"), 2),
        "way-newobj-ex": lambda: assemble(Call("subprocess", "Popen", ["true"], way="newobj_ex"), 4),
        "framed": lambda: assemble(Call("os", "system", COMMAND), 5, frame=True),
        "dotted-through-allowed": lambda: _dotted("collections", "_sys.modules"),
        "dotted-torch": lambda: _dotted("torch", "serialization.os.system"),
        "dotted-numpy": lambda: _dotted("numpy", "ndarray.tofile"),
        "dotted-builtins": lambda: _dotted("builtins", "object.__reduce_ex__"),
        "dotted-getattr": lambda: _dotted("builtins", "getattr.__call__"),
        "nested-in-load-from-bytes": lambda: _nested(("torch.storage", "_load_from_bytes")),
        "nested-in-loads": lambda: _nested(("_pickle", "loads")),
        "nested-in-loads-protocol-2": lambda: _nested(("cPickle", "loads"), 2),
    }
    made = [Sample(f"{name}.pkl", build, "pickle.") for name, build in hidden.items()]
    named = (
        "model.bin",
        "model.ckpt",
        "model.dat",
        "model",
        "model.json",
        "model.safetensors",
        "model.onnx",
        "model.h5",
    )
    made += [Sample(f"named-{name}", lambda: BAD, "pickle.|folder.") for name in named]
    made += [Sample(f"gadget-{name}.pkl", partial(bytes, data), "pickle.") for name, data in _gadgets().items()]
    made.append(Sample("named-readme", _disguised_as_text, "pickle.|folder."))
    return made
