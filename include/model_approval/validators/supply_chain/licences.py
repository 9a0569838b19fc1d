"""The licence of the model: as its card declares it, as its text says, and whether it is one of those allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Protocol

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.scan import Rule
from model_approval.validators.supply_chain.inspection import Inspection, some
from model_approval.validators.supply_chain.licence_texts import family, recognise
from model_approval.validators.supply_chain.model_card import ModelCard

if TYPE_CHECKING:
    from license_expression import Licensing

_FILE = re.compile(r"(?:un)?licen[cs]e(?:[-_.].*)?|copying(?:\..*)?", re.IGNORECASE)
_COMMON = {
    name.lower(): name
    for name in (
        *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0", "GPL-3.0-only", "LGPL-3.0-only", "ISC"),
        *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "Unlicense"),
    )
}
"""What nearly every card declares; loading the whole list of licences takes longer than most scans."""
_NOT_A_LICENCE = frozenset({"other", "unknown", "none", "custom"})
_UNKNOWN = Rule("licence.unknown", Severity.LOW, "declare an SPDX expression, for example Apache-2.0")
_CONFLICT = Rule("licence.conflict", Severity.MEDIUM, "ask the publisher which licence holds, and mend the other place")
_NOT_ALLOWED = Rule("licence.not-allowed", Severity.HIGH, "use another model, or have the policy allow this licence")


@dataclass(frozen=True)
class Licence:
    """What could be established about one licence."""

    expression: str = ""
    """A valid SPDX expression; empty when there is none."""
    claimed: tuple[str, ...] = ()
    """Names that are no SPDX identifiers, as they were written."""
    identifiers: frozenset[str] = field(default=frozenset())
    """All identifiers of the expression."""


def check_licences(inspection: Inspection, card: ModelCard) -> Licence:
    """Establish the model's licence, record findings, and hold it against the allowed ones."""
    declared = _declared(inspection, card)
    texts = _recognised(inspection)
    families = {family(one) for one in declared.identifiers}
    for path, found in texts.items():
        if families and family(found) not in families:
            message = f"the card declares {declared.expression}, the text in {path} is {found}"
            inspection.report(_CONFLICT, message, file=path, subject=f"{declared.expression} {found}")
    licence = declared
    if not declared.expression and not declared.claimed and texts:
        licence = parse_expression(" AND ".join(sorted(set(texts.values())))) or declared
    _hold_against_allowed(inspection, licence, card.path or next(iter(texts), ""))
    inspection.environment["licence"] = plain_line(
        licence.expression or " and ".join(licence.claimed) or "none", limit=300
    )
    return licence


def parse_expression(text: str) -> Licence | None:
    """Read an SPDX expression of any case; None when it is none. `LicenseRef-...` names somebody's own licence."""
    if not text:
        return None
    if text.lower() in _COMMON:
        name = _COMMON[text.lower()]
        return Licence(name, (), frozenset({name}))
    from license_expression import ExpressionError

    licensing = _licensing()
    try:
        parsed = licensing.parse(text, validate=False)
        unknown = licensing.unknown_license_keys(parsed) if parsed is not None else [text]
    except (ExpressionError, ValueError):
        return None
    if parsed is None or any(not str(key).startswith("LicenseRef-") for key in unknown):
        return None
    return Licence(str(parsed), (), frozenset(str(key) for key in licensing.license_keys(parsed)))


def _declared(inspection: Inspection, card: ModelCard) -> Licence:
    known, claimed = [], []
    for value in card.licences:
        named = card.licence_name if value.lower() in _NOT_A_LICENCE else ""
        found = None if value.lower() in _NOT_A_LICENCE else parse_expression(value)
        if found:
            known.append(found.expression)
            continue
        claimed.append(named or value)
        message = f"the card declares {claimed[-1]!r}, which is no SPDX expression, so nothing is known of its terms"
        subject = claimed[-1].lower()
        inspection.report(_UNKNOWN, message, file=card.path, subject=subject, line=card.licence_line)
    parts = list(dict.fromkeys(known))
    joined = parse_expression(" AND ".join(f"({one})" for one in parts) if len(parts) > 1 else "".join(parts))
    return Licence(joined.expression if joined else "", tuple(claimed), joined.identifiers if joined else frozenset())


def _recognised(inspection: Inspection) -> dict[str, str]:
    """The licence files at the top of the artifact that are known; the others are findings."""
    found = {}
    for path in sorted(inspection.scans):
        if "/" in path or not _FILE.fullmatch(path):
            continue
        text = inspection.read_text(path)
        name = recognise(text) if text is not None else None
        if name:
            found[path] = name
        elif text is not None:
            inspection.report(_UNKNOWN, "the licence's text is none that we know", file=path, subject="text")
    return found


def _hold_against_allowed(inspection: Inspection, licence: Licence, file: str) -> None:
    allowed = inspection.parameters.licences
    if not allowed:
        return
    if licence.claimed or licence.expression:
        names = {one.lower() for one in allowed}
        fine = all(one.lower() in names for one in licence.claimed)
        if licence.expression:
            fine = fine and _satisfies(
                _licensing().parse(licence.expression, validate=False), lambda one: one.lower() in names
            )
        if not fine:
            what = " and ".join(filter(None, (licence.expression, *licence.claimed)))
            message = f"the licence is {what}, the check allows {some(allowed)}"
            inspection.report(_NOT_ALLOWED, message, file=file, subject=what)
    else:
        inspection.limit(f"the model's licence could not be established, and the check allows only {some(allowed)}")


class _Node(Protocol):
    """What we use of a parsed expression, whose library has no types."""

    args: tuple[_Node, ...]


def _satisfies(node: _Node, is_allowed: Callable[[str], bool]) -> bool:
    """Whether somebody who may use these licences may use what is under the parsed expression."""
    licensing = _licensing()
    if isinstance(node, licensing.OR):
        return any(_satisfies(part, is_allowed) for part in node.args)
    if isinstance(node, licensing.AND):
        return all(_satisfies(part, is_allowed) for part in node.args)
    return is_allowed(str(node))


@cache
def _licensing() -> Licensing:
    """The list of licences; making it takes as long as scanning dozens of files."""
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
