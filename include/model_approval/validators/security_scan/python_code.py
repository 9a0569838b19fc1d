"""Python source, parsed and never compiled: which dangerous things it names, so that a reviewer sees why it matters."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

MAX_SOURCE_CHARS = 2 * 1024**2
_DANGEROUS = frozenset(
    {
        "eval", "exec", "compile", "__import__", "breakpoint", "os.system", "os.popen", "os.fork", "os.remove",
        "os.unlink",
        "os.environ", "os.kill", "os.putenv", "shutil.rmtree", "pty.spawn", "socket.socket", "socket.create_connection",
        "urllib.request.urlopen", "urllib.request.urlretrieve", "http.client.HTTPSConnection", "ftplib.FTP",
        "importlib.import_module", "importlib.reload", "runpy.run_path", "runpy.run_module", "ctypes.CDLL",
        "ctypes.cdll.LoadLibrary", "marshal.loads", "pickle.load", "pickle.loads", "dill.loads", "cloudpickle.loads",
        "webbrowser.open", "code.interact", "pip.main", "torch.ops.load_library", "torch.hub.load", "smtplib.SMTP",
        "builtins.eval", "builtins.exec", "types.FunctionType", "types.CodeType", "winreg.SetValue", "sys.settrace",
    }
)  # fmt: skip
_DANGEROUS_MODULES = (
    "subprocess.",
    "os.exec",
    "os.spawn",
    "requests.",
    "httpx.",
    "aiohttp.",
    "paramiko.",
    "multiprocessing.",
)


@dataclass(frozen=True)
class Mention:
    """A dangerous thing that the code names."""

    name: str
    line: int


def dangerous_mentions(source: str) -> list[Mention]:
    """List what the code calls or names that reaches beyond computing, each name once.

    Raises:
        SyntaxError: It is no Python of this interpreter's version.
        ValueError: It holds zero bytes, or is too long.
        RecursionError, MemoryError: It is nested deeper than the parser goes.
    """
    if len(source) > MAX_SOURCE_CHARS:
        raise ValueError(f"more than {MAX_SOURCE_CHARS} characters of code")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    known = _imported_names(tree)
    found: dict[str, Mention] = {}
    for node in ast.walk(tree):
        for name in _names(node, known):
            if name in _DANGEROUS or name.startswith(_DANGEROUS_MODULES):
                found.setdefault(name, Mention(name, getattr(node, "lineno", 1)))
    return sorted(found.values(), key=lambda mention: (mention.line, mention.name))


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """What each local name stands for."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {item.asname: item.name for item in node.names if item.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return known


def _names(node: ast.AST, known: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Call):
        if name := _dotted(node.func, known):
            yield name
    elif isinstance(node, ast.Attribute) and (name := _dotted(node, known)):
        yield name


def _dotted(node: ast.AST, known: dict[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < 8:
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([known.get(node.id, node.id), *reversed(parts)])
