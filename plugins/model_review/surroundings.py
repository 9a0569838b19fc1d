"""On what and with what a validator worked, ready to be shown: hardware, programs, rule sets, and what confined it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from model_approval.domain.evidence import Device, Evidence
from model_review import words

_IN_FORCE = words.Look("in force", "passed", "check")
_MISSING = words.Look("missing", "attention", "triangle")
_NO_LOCK = words.Look("as reported", "waiting", "dot")
_LOCK = re.compile(r"(?:(?P<of>[a-z_]{1,40})\.)?confinement\.(?P<lock>.+)", re.DOTALL)
_DAY = re.compile(r"\b(20[0-9]{2})-([01][0-9])-([0-3][0-9])\b")
_LOCKS = {
    "limits": "resource limits",
    "capabilities": "capabilities dropped",
    "landlock": "files (Landlock)",
    "seccomp": "system calls (seccomp)",
    "ports": "one port (Landlock)",
}
_OF = {"model_process": "model server", "relay": "relay"}
_HARDWARE = {
    "gpu": "GPU", "gpu_memory_mib": "GPU memory (MiB)", "gpu_max_clock_mhz": "GPU clock, highest (MHz)",
    "gpu_memory_clock_mhz": "GPU memory clock (MHz)", "gpu_ecc": "GPU memory correction (ECC)",
    "gpu_mig": "GPU partitions (MIG)", "gpu_power_limit_w": "GPU power limit (W)", "cpu": "Processor",
    "cpus": "Processors", "cpu_quota": "Processor quota (cgroup)", "cpu_governor": "Clock governor",
    "memory_gib": "Memory (GiB)", "machine": "Architecture", "load": "Load average",
    "cpu_steal": "Stolen by neighbours", "cpu_busy": "Processors busy",
}  # fmt: skip
_SOFTWARE = {
    "gpu_driver": "GPU driver", "gpu_cuda_driver": "CUDA of the driver", "runtime": "Runtime", "python": "Python",
    "kernel": "Kernel", "device": "Device", "threads": "Threads", "endpoint": "Server behind a URL",
}  # fmt: skip
_SCAN = {
    "allowed_globals": "Rule set (allowed names)", "picklescan": "picklescan", "modelaudit": "modelaudit",
    "vulnerability_database": "Vulnerability database", "signature": "Signature", "licence": "Licence",
}  # fmt: skip
_TOLD_ELSEWHERE = ("warm_up.", "loadgen", "noise_floor", "comparison", "rounds")
"""Shown with the figures, in words."""


@dataclass(frozen=True)
class Fact:
    """One thing that is known, with a status where it has one."""

    name: str
    text: str
    look: words.Look | None = None


@dataclass(frozen=True)
class FactGroup:
    """Facts of a kind."""

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Surroundings:
    """All that a run says about where and with what it worked."""

    title: str
    summary: str
    """The most telling fact, for the folded line."""
    groups: tuple[FactGroup, ...]
    missing_locks: int


def surroundings(evidence: Evidence | None) -> Surroundings | None:
    """The facts of a run, sorted by kind; None when no evidence came home."""
    if evidence is None:
        return None
    known = evidence.environment
    locks = tuple(_locks(known))
    groups = (
        FactGroup("Hardware", tuple(_named(known, _HARDWARE))),
        FactGroup("Software", tuple(_named(known, _SOFTWARE))),
        FactGroup("Scanners and rules", tuple(_scan_facts(evidence))),
        FactGroup("Confinement", locks),
        FactGroup("Also recorded", tuple(_rest(known))),
    )
    measured = evidence.device is not Device.NONE or bool(evidence.metrics)
    return Surroundings(
        title="Measured on" if measured else "Looked into with",
        summary=_summary(evidence, measured=measured),
        groups=tuple(group for group in groups if group.facts),
        missing_locks=sum(lock.look is _MISSING for lock in locks),
    )


def _summary(evidence: Evidence, *, measured: bool) -> str:
    known = evidence.environment
    if not measured:
        programs = [f"{name} {known[name]}" for name in ("picklescan", "modelaudit") if known.get(name)]
        rules = [f"rule set {known['allowed_globals']}"] if known.get("allowed_globals") else []
        return ", ".join([*programs, *rules]) or f"{evidence.validator} {evidence.validator_version}"
    if known.get("gpu"):
        return known["gpu"]
    hardware = known.get("cpu", "")
    return f"{hardware} (CPU, no GPU)" if evidence.device is Device.CPU and hardware else hardware


def _named(known: dict[str, str], names: dict[str, str]) -> Iterator[Fact]:
    return (Fact(title, known[name]) for name, title in names.items() if known.get(name))


def _scan_facts(evidence: Evidence) -> Iterator[Fact]:
    for name, title in _SCAN.items():
        text = evidence.environment.get(name)
        if not text:
            continue
        if name == "vulnerability_database":
            yield Fact(title, "", _MISSING) if text == "none" else Fact(title, text + _age(text, evidence))
        elif name == "signature":
            yield _signature(title, text)
        else:
            yield Fact(title, text)


def _age(text: str, evidence: Evidence) -> str:
    """How old a snapshot was when it was used; empty when it names no day."""
    found = _DAY.search(text)
    if found is None:
        return ""
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return ""
    days = (evidence.finished_at.date() - day).days
    return f", {days} day{'' if days == 1 else 's'} old at the time" if days >= 0 else ", dated after this run"


def _signature(title: str, text: str) -> Fact:
    if text.startswith("verified: "):
        return Fact(title, text.removeprefix("verified: "), words.Look("verified", "passed", "check"))
    if text == "none":
        return Fact(title, "", words.Look("none", "waiting", "dash"))
    return Fact(title, text, words.Look("not verified", "attention", "triangle"))


def _locks(known: dict[str, str]) -> Iterator[Fact]:
    for name, text in known.items():
        lock = _LOCK.fullmatch(name)
        if lock is None:
            continue
        title = _LOCKS.get(lock["lock"], lock["lock"])
        who = f"{_OF.get(lock['of'], lock['of'])}: " if lock["of"] else ""
        state, _, how = text.partition(": ")
        look = {"in force": _IN_FORCE, "missing": _MISSING}.get(state)
        yield Fact(f"{who}{title}", how if look else text, look or _NO_LOCK)


def _rest(known: dict[str, str]) -> Iterator[Fact]:
    told = {*_HARDWARE, *_SOFTWARE, *_SCAN}
    for name, text in known.items():
        if name not in told and not name.startswith(_TOLD_ELSEWHERE) and not _LOCK.fullmatch(name):
            yield Fact(name.replace("_", " ").replace(".", ", "), text)
