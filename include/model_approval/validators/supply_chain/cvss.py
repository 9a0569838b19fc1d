"""How bad an advisory is: the label its database gives it, the base score of its CVSS vector, or HIGH.

Source of the formula and its constants: FIRST, "Common Vulnerability Scoring System version 3.1", sections 7.1 and 7.4,
and appendix A for the rounding; version 3.0 differs only in how it rounds. Version 4 scores are a table of 270 groups
of vectors, which we do not repeat: such a record counts by its label, and is HIGH without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from model_approval.domain.evidence import Severity

_LABELS = {
    "CRITICAL": Severity.CRITICAL,
    "HIGH": Severity.HIGH,
    "IMPORTANT": Severity.HIGH,
    "MODERATE": Severity.MEDIUM,
    "MEDIUM": Severity.MEDIUM,
    "LOW": Severity.LOW,
}
_ATTACK_VECTOR = {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}
_COMPLEXITY = {"L": 0.77, "H": 0.44}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}
_INTERACTION = {"N": 0.85, "R": 0.62}
_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}


def severity_of(label: str, vectors: Iterable[str]) -> Severity:
    """The severity of an advisory; the worst of what is said about it, HIGH when nothing readable is.

    Args:
        label: A word such as `MODERATE`; empty when there is none.
        vectors: CVSS vectors of any version.
    """
    said = [_LABELS[label.upper()]] if label.upper() in _LABELS else []
    said += [_band(score) for vector in vectors if (score := base_score(vector)) is not None]
    return max(said, key=lambda one: one.rank, default=Severity.HIGH)


def base_score(vector: str) -> float | None:
    """The base score of a CVSS 3 vector, 0 to 10 with one decimal; None for other versions and malformed vectors."""
    version, *pairs = vector.strip().split("/")
    if version not in ("CVSS:3.0", "CVSS:3.1"):
        return None
    metrics = dict(pair.split(":", 1) for pair in pairs if ":" in pair)
    try:
        return _score(metrics)
    except KeyError:
        return None


def _score(metrics: Mapping[str, str]) -> float:
    changed = {"U": False, "C": True}[metrics["S"]]
    missing = 1.0
    for metric in ("C", "I", "A"):
        missing *= 1 - _IMPACT[metrics[metric]]
    base = 1 - missing
    impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if changed else 6.42 * base
    exploitability = (
        8.22
        * _ATTACK_VECTOR[metrics["AV"]]
        * _COMPLEXITY[metrics["AC"]]
        * _PRIVILEGES[metrics["S"]][metrics["PR"]]
        * _INTERACTION[metrics["UI"]]
    )
    if impact <= 0:
        return 0.0
    return _round_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10))


def _round_up(value: float) -> float:
    """To the next tenth, in integers, since 8.6 * 10 is not 86 in binary (appendix A)."""
    scaled = round(value * 100_000)
    return scaled / 100_000 if scaled % 10_000 == 0 else (scaled // 10_000 + 1) / 10


def _band(score: float) -> Severity:
    for least, severity in ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM)):
        if score >= least:
            return severity
    return Severity.LOW
