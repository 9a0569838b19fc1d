"""Jinja templates, as chat templates are: what reaches from a template to the Python that renders it.

The template is parsed to its syntax tree and never rendered. A sandbox stops most of what is found here, but whether
the serving program has one is not up to the model. Honest chat templates loop, compare, and call a few helpers; they
touch no name with a leading underscore, and build no attribute names from pieces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

MAX_TEMPLATE_CHARS = 256 * 1024
"""Chat templates have some thousand, the longest known 60,000."""
_MAX_NODES = 60_000
_MAX_STEPS = 300_000
_MAX_TEXT = 4096
"""Longest text that is put together from constants to see what name it spells."""

_ADVICE = "replace the template by the one of the model's publisher, or write it without that"
_ESCAPE = Rule("template.escape", Severity.CRITICAL, _ADVICE)
_BUILT = Rule("template.built-name", Severity.HIGH, _ADVICE)
_CALL = Rule("template.call", Severity.CRITICAL, _ADVICE)
_INCLUDE = Rule("template.include", Severity.HIGH, "write the template as one text")
_UNLISTED = Rule("template.unlisted-call", Severity.MEDIUM, "look up what the serving program binds to that name")
_COSTLY = Rule("template.costly", Severity.MEDIUM, _ADVICE)

_DUNDER = re.compile(r"__[A-Za-z]\w*__")
_FORMAT_ESCAPE = re.compile(r"\{[^{}]*[.\[]\s*_")
_PIECE = re.compile(r"_{1,2}|__?[a-z]{1,12}|[a-z]{1,12}__?|(\\?x5f|\\137)+\w*", re.IGNORECASE)
_INTERNAL = frozenset(
    {
        "mro", "gi_frame", "gi_code", "cr_frame", "cr_code", "ag_frame", "ag_code", "f_globals", "f_locals", "f_back",
        "f_builtins", "tb_frame", "func_globals", "func_code", "im_func", "im_class", "subclasses", "popen",
        "check_output", "import_module", "format_map", "from_object", "from_pyfile", "from_envvar",
    }
)  # fmt: skip
"""Attributes without leading underscore that lead out of a template as well."""
_DANGEROUS_CALLS = frozenset(
    {
        "eval", "exec", "open", "compile", "getattr", "setattr", "globals", "locals", "vars", "import_module", "popen",
        "system", "lipsum", "input", "breakpoint", "get_flashed_messages",
    }
)  # fmt: skip
_KNOWN_CALLS = frozenset(
    {
        "raise_exception", "strftime_now", "namespace", "range", "dict", "cycler", "joiner", "caller", "super", "loop",
        "url_for", "static", "_", "gettext", "ngettext", "bos_token", "eos_token", "tojson", "raise", "len",
    }
)  # fmt: skip
_BY_ATTRIBUTE = frozenset({"map", "selectattr", "rejectattr", "groupby", "sort", "sum", "unique", "min", "max"})
_BUILDERS = frozenset({"join", "replace", "format", "reverse", "lower", "upper", "string", "urlencode", "trim", "list"})
_RANGE_LIMIT = 1_000_000


class _Generation(Extension):
    """`{% generation %}`: marks what the assistant says; the tag of the best-known tokenizer library."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Read the block as if the tag was not there."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


@dataclass(frozen=True)
class Trouble:
    """One thing in a template that should not be there."""

    rule: Rule
    message: str
    subject: str
    line: int


@dataclass
class _Analysis:
    names: dict[str, nodes.Node] = field(default_factory=dict)
    """What a name was set to, where it was set once."""
    own: Counter[str] = field(default_factory=Counter)
    """How often the template itself defines a name: macros, variables, loop variables."""
    pieces: bool = False
    """Whether texts stand in it that look like parts of a forbidden name."""
    steps: int = 0

    def spend(self) -> None:
        """Count a step of following constants, which names can make exponential. Raises TemplateError beyond."""
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise TemplateError(f"more than {_MAX_STEPS} steps to follow its constants")


def check_template(blob: Blob, scan: FileScan, source: str, *, where: str = "") -> None:
    """Look into a template and record what was found.

    Args:
        blob: The file it stands in.
        scan: Takes findings and gaps.
        source: The template's text.
        where: Which template of the file it is, for example a key; empty when it is the whole file.
    """
    prefix = f"{where}: " if where else ""
    try:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise TemplateError(f"more than {MAX_TEMPLATE_CHARS} characters")
        troubles = list(analyse(source))
    except (TemplateError, RecursionError) as err:
        scan.gap(f"{prefix}the template cannot be parsed: {err}")
        troubles = list(_in_unreadable(source))
    seen: set[tuple[str, str]] = set()
    for trouble in troubles:
        if (trouble.rule.id, trouble.subject) not in seen:
            seen.add((trouble.rule.id, trouble.subject))
            subject = f"{where} {trouble.subject}".strip()
            scan.add(blob, trouble.rule, prefix + trouble.message, subject=subject, line=trouble.line)
        if trouble.rule is _UNLISTED:
            scan.gap(f"{prefix}what {trouble.subject!r} does is not known")


def analyse(source: str) -> Iterator[Trouble]:
    """Find what reaches out of a template.

    Raises:
        jinja2.TemplateError: It is no template, or uses tags that we do not know.
        RecursionError: It is nested deeper than a parser goes.
    """
    tree = _environment().parse(source)
    all_nodes = []
    for node in _walk(tree):
        all_nodes.append(node)
        if len(all_nodes) > _MAX_NODES:
            raise TemplateError(f"more than {_MAX_NODES} parts")
    known = _Analysis()
    for node in all_nodes:
        _learn(node, known)
    for node in all_nodes:
        yield from _judge(node, known)


@cache
def _environment() -> Environment:
    extensions: list[str | type[Extension]] = [
        "jinja2.ext.loopcontrols",
        "jinja2.ext.do",
        "jinja2.ext.i18n",
        _Generation,
    ]
    return Environment(extensions=extensions, optimized=False)  # noqa: S701  # nothing is ever rendered


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        pending += list(node.iter_child_nodes())


def _in_unreadable(source: str) -> Iterator[Trouble]:
    for match in islice(_DUNDER.finditer(source), 50):
        line = source.count("\n", 0, match.start()) + 1
        yield Trouble(_ESCAPE, f"it names {match.group()!r}, which leads out of the template", match.group(), line)


def _learn(node: nodes.Node, known: _Analysis) -> None:
    if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
        known.names[node.target.name] = node.node
    elif isinstance(node, nodes.Macro):
        known.own[node.name] += 1
    elif isinstance(node, nodes.Name):
        known.own[node.name] += node.ctx in ("store", "param")
    elif isinstance(node, (nodes.FromImport, nodes.Import)):
        known.own.update(_imported(node))
    elif isinstance(node, nodes.Const) and isinstance(node.value, str):
        known.pieces = known.pieces or bool("_" in node.value and _PIECE.fullmatch(node.value.strip()))


def _imported(node: nodes.FromImport | nodes.Import) -> list[str]:
    if isinstance(node, nodes.Import):
        return [node.target]
    return [name if isinstance(name, str) else name[1] for name in node.names]


def _judge(node: nodes.Node, known: _Analysis) -> Iterator[Trouble]:
    if isinstance(node, nodes.Getattr):
        yield from _attribute(node.attr, node.lineno)
    elif isinstance(node, nodes.Getitem):
        yield from _subscript(node, known)
    elif isinstance(node, nodes.Name):
        if node.name.startswith("__") or node.name == "lipsum":
            yield Trouble(_ESCAPE, f"it uses {node.name!r}, a way to Python's own names", node.name, node.lineno)
    elif isinstance(node, nodes.Const):
        yield from _constant(node)
    elif isinstance(node, (nodes.Filter, nodes.Test)):
        yield from _filter(node, known)
    elif isinstance(node, nodes.Call):
        yield from _call(node, known)
    elif isinstance(node, (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        kind = type(node).__name__.lower()
        yield Trouble(_INCLUDE, f"it reads another template ({kind}), which is not looked into", kind, node.lineno)
    elif isinstance(node, (nodes.Concat, nodes.Add, nodes.Mod)):
        yield from _spelled(node, known)


def _attribute(name: str, line: int) -> Iterator[Trouble]:
    for part in name.split("."):
        if part.startswith("_") or part in _INTERNAL:
            yield Trouble(_ESCAPE, f"it reads the attribute {part!r}, which leads out of the template", part, line)


def _subscript(node: nodes.Getitem, known: _Analysis) -> Iterator[Trouble]:
    name = _fold(node.arg, known)
    if name is not None:
        if not isinstance(node.arg, nodes.Const) or name.startswith("__") or name in _INTERNAL:
            yield from _attribute(name, node.lineno)
    elif _builds_text(node.arg, known):
        yield Trouble(_BUILT, "it puts a name together and looks it up, which hides what it reads", "", node.lineno)


def _constant(node: nodes.Const) -> Iterator[Trouble]:
    if not isinstance(node.value, str):
        return
    if match := _DUNDER.fullmatch(node.value):
        yield Trouble(_BUILT, f"it holds the text {match.group()!r}, an internal name", match.group(), node.lineno)
    if _FORMAT_ESCAPE.search(node.value):
        yield Trouble(_BUILT, "it holds a format text that reads internal attributes", "format", node.lineno)


def _filter(node: nodes.Filter | nodes.Test, known: _Analysis) -> Iterator[Trouble]:
    given = [*(node.args or []), *(pair.value for pair in node.kwargs or [])]
    if node.name == "attr":
        name = _fold(given[0], known) if given else None
        if name is None:
            yield Trouble(_BUILT, "it reads an attribute whose name it puts together", "attr", node.lineno)
        else:
            yield Trouble(_BUILT, f"it reads the attribute {name[:80]!r} by filter", f"attr {name[:80]}", node.lineno)
            yield from _attribute(name, node.lineno)
    elif node.name in _BY_ATTRIBUTE:
        texts = [text for part in given if (text := _fold(part, known)) is not None]
        for text in texts:
            yield from _attribute(text, node.lineno)
        if node.name == "map" and "attr" in texts[:1]:
            yield Trouble(_BUILT, "it reads attributes by filter", "map attr", node.lineno)
    elif node.name in _BUILDERS and isinstance(node, nodes.Filter):
        yield from _spelled(node, known)


def _call(node: nodes.Call, known: _Analysis) -> Iterator[Trouble]:
    called = node.node
    if isinstance(called, nodes.Name):
        name = called.name
        if name in _DANGEROUS_CALLS:
            yield Trouble(_CALL, f"it calls {name!r}", name, node.lineno)
        elif name not in _KNOWN_CALLS and not known.own[name]:
            yield Trouble(_UNLISTED, f"it calls {name!r}, which no chat template needs", name, node.lineno)
        if name == "range" and any(_is_huge(part) for part in node.args):
            yield Trouble(_COSTLY, "it counts to a number that would keep the server busy", "range", node.lineno)
    elif isinstance(called, nodes.Getattr) and called.attr in _DANGEROUS_CALLS:
        yield Trouble(_CALL, f"it calls the method {called.attr!r}", called.attr, node.lineno)
    elif _formats_built_text(called, known):
        yield Trouble(_BUILT, "it formats a text that it puts together", "format", node.lineno)


def _formats_built_text(called: nodes.Node, known: _Analysis) -> bool:
    if not isinstance(called, nodes.Getattr) or called.attr != "format" or not known.pieces:
        return False
    return _fold(called.node, known) is None and _builds_text(called.node, known)


def _is_huge(node: nodes.Expr) -> bool:
    if isinstance(node, nodes.Const):
        return isinstance(node.value, int) and node.value > _RANGE_LIMIT
    return isinstance(node, nodes.Pow)


def _spelled(node: nodes.Node, known: _Analysis) -> Iterator[Trouble]:
    """Pieces that are harmless alone and spell an internal name together."""
    text = _fold(node, known)
    if text is not None and (match := _DUNDER.search(text)):
        message = f"it puts {match.group()!r} together from pieces, which hides an internal name"
        yield Trouble(_ESCAPE, message, match.group(), node.lineno)


def _builds_text(node: nodes.Node, known: _Analysis, depth: int = 0) -> bool:
    """Whether an expression makes a text nobody can know beforehand, out of parts that suggest an internal name."""
    known.spend()
    if depth > 20:
        return True
    if isinstance(node, nodes.Name):
        value = known.names.get(node.name)
        return (
            known.pieces
            and value is not None
            and not isinstance(value, nodes.Name)
            and _builds_text(value, known, depth + 1)
        )
    if isinstance(node, nodes.Concat):
        return known.pieces or depth == 0
    if isinstance(node, (nodes.Add, nodes.Mod, nodes.Mul)):
        parts = (node.left, node.right)
        return any(isinstance(part, nodes.Const) and isinstance(part.value, str) for part in parts) or any(
            _builds_text(part, known, depth + 1) for part in parts
        )
    if isinstance(node, nodes.Filter) and node.node is not None:
        return known.pieces and node.name in _BUILDERS
    return False


def _fold(node: nodes.Node | None, known: _Analysis, depth: int = 0) -> str | None:
    """The text that an expression of constants gives; None when it is not known or no text."""
    known.spend()
    if node is None or depth > 20:
        return None
    if isinstance(node, nodes.Const):
        return node.value[:_MAX_TEXT] if isinstance(node.value, str) else None
    if isinstance(node, nodes.TemplateData):
        return node.data[:_MAX_TEXT]
    if isinstance(node, nodes.Name):
        return _fold(known.names.get(node.name), known, depth + 1) if known.own[node.name] == 1 else None
    if isinstance(node, nodes.Add):
        return _joined([node.left, node.right], known, depth)
    if isinstance(node, nodes.Concat):
        return _joined(node.nodes, known, depth)
    if isinstance(node, nodes.Mul):
        return _repeated(node, known, depth)
    if isinstance(node, nodes.Filter):
        return _filtered(node, known, depth)
    return None


def _joined(parts: list[nodes.Expr], known: _Analysis, depth: int, glue: str = "") -> str | None:
    texts = [_fold(part, known, depth + 1) for part in parts]
    return glue.join(text for text in texts if text is not None)[:_MAX_TEXT] if None not in texts else None


def _repeated(node: nodes.Mul, known: _Analysis, depth: int) -> str | None:
    text, times = _fold(node.left, known, depth + 1), node.right
    if text is None or not isinstance(times, nodes.Const) or not isinstance(times.value, int):
        return None
    return (text * min(times.value, 64))[:_MAX_TEXT]


def _filtered(node: nodes.Filter, known: _Analysis, depth: int) -> str | None:
    args = [_fold(part, known, depth + 1) for part in node.args or []]
    if node.name == "join" and isinstance(node.node, (nodes.List, nodes.Tuple)):
        return _joined(node.node.items, known, depth, (args[0] or "") if args else "")
    text = _fold(node.node, known, depth + 1)
    if text is None:
        return None
    if node.name == "replace" and len(args) >= 2 and args[0] and args[1] is not None:
        return text.replace(args[0], args[1])[:_MAX_TEXT]
    plain = {"reverse": text[::-1], "lower": text.lower(), "upper": text.upper(), "trim": text.strip(), "string": text}
    return plain.get(node.name)
