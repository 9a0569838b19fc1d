"""TorchScript source: torch's own interpreter runs it, so it can do what torch's operators can, and nothing else.

It is written by torch's serializer in a small subset of Python's syntax, hence read with Python's parser and never run.
Operators are held to a list; the few that reach files, other processes or the debugger are findings.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.known_names import known_names
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_ADVICE = "export the model without operators that reach beyond tensors"
_FILE = Rule("torchscript.outside-operator", Severity.HIGH, _ADVICE)
_PYTHON = Rule("torchscript.python", Severity.HIGH, "save the model with torch.jit.save, which writes no such code")
_UNLISTED = Rule("torchscript.unlisted-operator", Severity.MEDIUM, "have the operator's library reviewed")
_MAX_BYTES = 8 * 1024**2
"""Python's parser takes about a hundred times the text; the largest real file seen has 0.3 MB."""
_MAX_PROGRAM_BYTES = 256 * 1024**2
_TARGET = re.compile(rb'"target"\s*:\s*"(torch\.ops(?:\.\w+){2,3})"')

_OUTSIDE = frozenset(
    {
        "from_file", "save", "load", "load_library", "hub", "package", "compile", "import_ir_module", "open", "tofile",
        "fromfile",
    }
)  # fmt: skip
"""Names under `torch` or `ops.aten` that read or write files, or leave TorchScript."""
_OPERATOR_SPACES = frozenset(
    {
        "aten", "prim", "prims", "quantized", "_quantized", "quantization", "torchvision", "torchaudio", "mkl",
        "mkldnn", "mkldnn_prepacked", "onednn", "prepacked", "sparse", "quantized_decomposed", "metal",
        "metal_prepack", "vulkan", "vulkan_prepack", "xnnpack", "inductor", "inductor_prims", "rngprims", "export",
        "_native", "static_runtime", "profiler", "torch_scatter", "torch_sparse", "torch_cluster",
        "torch_spline_conv", "fbgemm", "_caffe2", "higher_order",
    }
)  # fmt: skip
_OUTSIDE_SPACES = frozenset(
    {
        "rpc", "image", "video_reader", "c10d", "c10d_functional", "_c10d_functional", "dist_autograd", "symm_mem",
        "debugprims", "script",
    }
)  # fmt: skip
"""Operators that call other processes or read and write files; found by their arguments in torch's own registry."""
_OUTSIDE_PREFIXES = ("sox_io_", "sox_effects_", "ffmpeg", "rpc_")
_TORCH_PARTS = frozenset({"linalg", "fft", "special", "nn", "functional", "sparse", "nested", "jit", "ops", "classes"})
_PYTHON_NAMES = frozenset(
    {
        "open", "exec", "eval", "compile", "__import__", "input", "globals", "locals", "vars", "breakpoint", "delattr",
        "setattr", "memoryview", "exit", "quit", "help", "os", "sys", "subprocess", "importlib", "builtins",
        "__builtins__",
    }
)  # fmt: skip
_PYTHON_ATTRIBUTES = frozenset(
    {
        "__globals__", "__builtins__", "__subclasses__", "__class__", "__bases__", "__base__", "__mro__", "__code__",
        "__import__", "__dict__", "__getattribute__", "__reduce__", "__reduce_ex__", "__loader__", "__spec__",
        "__closure__",
    }
)  # fmt: skip
_NOT_TORCHSCRIPT = (
    ast.Lambda, ast.Try, ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith,
    ast.Global, ast.Nonlocal, ast.NamedExpr, ast.Match,
)  # fmt: skip


def scan_torchscript(blob: Blob, scan: FileScan) -> None:
    """Judge everything that a TorchScript file names. Raises Uncovered when it cannot be parsed."""
    if blob.size_bytes > _MAX_BYTES:
        raise Uncovered(f"TorchScript of more than {_MAX_BYTES} bytes")
    blob.stream.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(blob.stream.read().decode())
    except (SyntaxError, ValueError, MemoryError, RecursionError) as err:
        raise Uncovered(f"not readable as TorchScript: {err}") from err
    seen: set[tuple[str, str]] = set()
    for rule, subject, line in _judge(tree):
        if (rule.id, subject) not in seen:
            seen.add((rule.id, subject))
            _report(blob, scan, rule, subject, line)


def scan_exported_program(blob: Blob, scan: FileScan) -> None:
    """Judge the operators that a program of torch.export calls. Raises Uncovered when there is too much of it."""
    if blob.size_bytes > _MAX_PROGRAM_BYTES:
        raise Uncovered(f"an exported program of more than {_MAX_PROGRAM_BYTES} bytes")
    blob.stream.seek(0)
    targets = {match[1].decode() for match in _TARGET.finditer(blob.stream.read())}
    for target in sorted(targets):
        for rule, subject in _judge_dotted(target.split(".")):
            _report(blob, scan, rule, subject, None)


def _report(blob: Blob, scan: FileScan, rule: Rule, subject: str, line: int | None) -> None:
    scan.add(blob, rule, _message(rule, subject), subject=subject, line=line)
    if rule is _UNLISTED:
        scan.gap(f"{blob.inner}: operator {subject} is not on our list")


def _message(rule: Rule, subject: str) -> str:
    if rule is _FILE:
        return f"{subject} reaches files, other processes or code from inside the model"
    if rule is _PYTHON:
        return f"{subject} is Python, which torch never writes into a TorchScript file"
    return f"{subject} runs in a library of its own, of which nothing is known here"


def _judge(tree: ast.AST) -> Iterator[tuple[Rule, str, int]]:
    inner: set[int] = set()
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):  # parents come before their children, so a dotted name is met whole
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute):
            if id(node) not in inner and (name := _dotted(node, inner)):
                yield from ((rule, subject, line) for rule, subject in _judge_dotted(name))
            if node.attr in _PYTHON_ATTRIBUTES:
                yield _PYTHON, node.attr, line
        elif isinstance(node, ast.Name):
            if node.id in _PYTHON_NAMES and node.id not in bound:
                yield _PYTHON, node.id, line
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((_PYTHON, f"import {name}", line) for name in _imported(node))
        elif isinstance(node, _NOT_TORCHSCRIPT):
            yield _PYTHON, type(node).__name__.lower(), line
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node.decorator_list:
            yield _PYTHON, "decorator", line


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """What it imports besides the archive's own modules, which old versions of torch wrote down so."""
    names = [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] != "__torch__"]


def _dotted(node: ast.Attribute, inner: set[int]) -> list[str]:
    """`a.b.c` as its parts; empty when it starts with something other than a name."""
    parts, current = [node.attr], node.value
    while isinstance(current, ast.Attribute):
        inner.add(id(current))
        parts.append(current.attr)
        current = current.value
    if not isinstance(current, ast.Name):
        return []
    if current.id in ("torch", "ops", "__torch__"):
        inner.add(id(current))
    return [current.id, *reversed(parts)]


def _judge_dotted(parts: list[str]) -> Iterator[tuple[Rule, str]]:
    name = ".".join(parts)
    if parts[0] == "torch" and parts[1] == "ops":
        parts = parts[1:]
    if parts[0] == "ops" and len(parts) > 2:
        space, operator = parts[1], parts[2]
        if space in _OUTSIDE_SPACES or operator.startswith(_OUTSIDE_PREFIXES) or operator in _OUTSIDE:
            yield _FILE, name
        elif space not in _OPERATOR_SPACES:
            yield _UNLISTED, name
    elif parts[:3] == ["__torch__", "torch", "classes"]:
        if len(parts) > 3 and parts[3] not in _OPERATOR_SPACES:
            yield _UNLISTED, name
    elif parts[0] == "torch":
        listed = _TORCH_PARTS if len(parts) > 2 else known_names("torch_operators")
        if parts[1] in _OUTSIDE or (len(parts) > 2 and parts[1] == "jit" and parts[2] in _OUTSIDE):
            yield _FILE, name
        elif parts[1] == "classes" or parts[1] not in listed:
            yield _UNLISTED, name
