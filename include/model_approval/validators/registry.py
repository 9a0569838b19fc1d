"""Which validators there are; each is imported only in the process that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import Validator


@dataclass(frozen=True)
class Entry:
    """A validator, as its supervisor knows it without importing it."""

    version: str
    covers_every_file: bool
    """Whether a file that it does not mention counts as not covered."""
    make: Callable[[], Validator]


def _security_scan() -> Validator:
    from model_approval.validators.security_scan.validator import SecurityScan

    return SecurityScan()


def _gpu_benchmark() -> Validator:
    from model_approval.validators.gpu_benchmark.validator import GpuBenchmark

    return GpuBenchmark()


VALIDATORS: Mapping[str, Entry] = {
    "security_scan": Entry(version="1.0.0", covers_every_file=True, make=_security_scan),
    "gpu_benchmark": Entry(version="1.0.0", covers_every_file=False, make=_gpu_benchmark),
}


def entry_of(name: str, registry: Mapping[str, Entry] = VALIDATORS) -> Entry:
    """The validator of that name.

    Raises:
        EvidenceError: There is none.
    """
    found = registry.get(name)
    if found is None:
        raise EvidenceError(f"there is no validator {name!r}", hint=f"known are {', '.join(sorted(registry))}")
    return found
