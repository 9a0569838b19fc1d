"""The rules of the security scan as its code has them, without importing a scanner: their libraries are elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.evidence import Severity
from model_approval.domain.rule_words import meaning_of
from model_approval.validators.security_scan.dependencies import OddityKind

_VALIDATORS = Path(__file__).resolve().parents[2] / "include" / "model_approval" / "validators"
_PAGE = Path(__file__).resolve().parents[2] / "include" / "docs" / "security-scan.md"
_TABLE = """
## Rules

| rule | severity | what it means | what to do |
|---|---|---|---|
"""
_PACKAGES = ("security_scan", "supply_chain")


@dataclass(frozen=True)
class CodeRule:
    """One rule, as a call in the code makes it."""

    id: str
    severities: frozenset[str]
    """Those that the code names; empty when it is decided while scanning."""
    advice: frozenset[str]


def rules_in_code() -> list[CodeRule]:
    """Every rule that a scanner can report, by id."""
    found: dict[str, list[CodeRule]] = {}
    for package in _PACKAGES:
        for path in sorted((_VALIDATORS / package).rglob("*.py")):
            for rule in _rules_of(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(rule.id, []).append(rule)
    return [_joined(name, found[name]) for name in sorted(found)]


def page() -> str:
    """`security-scan.md`: its written part as it is, and the table of all rules anew."""
    rows = [
        f"| `{rule.id}` | {_severity_words(rule)} | {meaning_of(rule.id)} | {_advice_words(rule)} |\n"
        for rule in rules_in_code()
    ]
    written, _, _ = _PAGE.read_text(encoding="utf-8").partition(_TABLE)
    return written + _TABLE + "".join(rows)


def _rules_of(tree: ast.Module) -> Iterator[CodeRule]:
    texts = _constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        given = dict(zip(("id", "severity", "advice"), node.args, strict=False)) if name == "Rule" else {}
        given |= {str(keyword.arg): keyword.value for keyword in node.keywords}
        key = given.get("id") if name == "Rule" else given.get("rule") if name == "Finding" else None
        for one in _names(key):
            yield CodeRule(one, frozenset(_severities(given.get("severity"))), _advice(given.get("advice"), texts))


def _names(node: ast.expr | None) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as name):
            yield name
        case ast.JoinedStr(values=[ast.Constant(value="dependency."), *_]):
            yield from (f"dependency.{kind}" for kind in OddityKind)
        case ast.JoinedStr(values=[ast.Constant(value=str() as family), *_]):
            yield f"{family}*"  # ids that another program gives


def _constants(tree: ast.Module) -> dict[str, str]:
    """Texts that a module keeps under a name."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            for text in _advice(node.value, found):
                found[node.targets[0].id] = text
    return found


def _severities(node: ast.expr | None) -> Iterator[str]:
    for part in ast.walk(node) if node is not None else ():
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "Severity":
            yield part.attr.lower()


def _advice(node: ast.expr | None, texts: dict[str, str]) -> frozenset[str]:
    """The text of an expression, as far as it can be read without running it."""
    match node:
        case ast.Constant(value=str() as text):
            return frozenset({text})
        case ast.Name(id=name) if name in texts:
            return frozenset({texts[name]})
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return frozenset({"".join(sorted(_advice(left, texts)) + sorted(_advice(right, texts)))}) - {""}
        case ast.IfExp(body=body, orelse=orelse):
            return _advice(body, texts) | _advice(orelse, texts)
        case ast.JoinedStr(values=values):
            return frozenset({"".join(_piece(value, texts) for value in values)})
    return frozenset()


def _piece(node: ast.expr, texts: dict[str, str]) -> str:
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    return next(iter(_advice(inner, texts)), "...")


def _joined(name: str, rules: list[CodeRule]) -> CodeRule:
    return CodeRule(
        name,
        frozenset(one for rule in rules for one in rule.severities),
        frozenset(one for rule in rules for one in rule.advice),
    )


def _severity_words(rule: CodeRule) -> str:
    ordered = [one.value for one in reversed(Severity) if one.value in rule.severities]
    return " or ".join(ordered) or "as the finding says"


def _advice_words(rule: CodeRule) -> str:
    return "; or ".join(sorted(rule.advice)).replace("|", "\\|") or "as the finding says"
