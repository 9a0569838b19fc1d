"""The security scan held to its goal over a corpus of hundreds: what is malicious fails, what is honest does not.

The malicious samples are generated and inert (`tests/support/corpus`); the honest ones are what the real libraries save
and the real models that packages ship. Rates are asserted as the goal states them, every miss is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_approval.domain.evidence import Evidence, FileCoverage, Finding, Severity
from model_approval.domain.manifest import manifest_of_folder
from tests.support.corpus.places import SAMPLES, VALIDATORS, torch_python, write_with
from tests.support.corpus.sample import INDEX, Written
from tests.support.validation import RUNNER, a_validator_input

pytestmark = [pytest.mark.contract, pytest.mark.timeout(600)]

_MISSED_AT_MOST = 0.01
_FALSE_ALARMS_AT_MOST = 0.01
_FAMILIES = {"archive", "config", "folder", "gguf", "hdf5", "keras", "mlflow", "onnx", "pickle", "skops", "tflite"}


@dataclass(frozen=True)
class Scanned:
    """Samples and what the scan says about them; each is a folder of the scanned artifact."""

    samples: Sequence[Written]
    evidence: Evidence

    def findings(self, sample: Written) -> list[Finding]:
        """Those about one sample."""
        return [item for item in self.evidence.findings if (item.file or "").startswith(f"{sample.name}/")]

    def grave(self, sample: Written) -> list[Finding]:
        """Those that fail a scan."""
        return [item for item in self.findings(sample) if item.severity.rank >= Severity.HIGH.rank]

    def gaps(self, sample: Written) -> list[FileCoverage]:
        """Its files that were not looked into."""
        return [item for item in self.evidence.coverage if item.path.startswith(f"{sample.name}/") and not item.covered]

    def told(self, samples: Sequence[Written]) -> str:
        """What the scan said about some samples, for a message."""
        return "\n".join(
            f"{sample.name}: "
            + "; ".join([f"{item.severity} {item.rule} {item.message}" for item in self.findings(sample)][:3])
            + "; ".join(f"{item.format}: {item.note}" for item in self.gaps(sample)[:3])
            for sample in samples
        )


def _scanned(samples: Sequence[Written], folder: Path) -> Scanned:
    (folder / INDEX).unlink(missing_ok=True)
    given = a_validator_input(manifest_of_folder(folder))
    evidence = RUNNER.run_on_folder(given, "security_scan", folder, champion=None, timeout_s=400)
    assert not evidence.limitations
    return Scanned(samples, evidence)


@pytest.fixture(scope="module")
def malicious(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    folder = tmp_path_factory.mktemp("malicious")
    return _scanned(write_with(VALIDATORS, "malicious", folder), folder)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    if not SAMPLES.exists():
        pytest.skip("no .venv-samples, which has the libraries: make setup-tests")
    folder = tmp_path_factory.mktemp("honest")
    return _scanned(write_with(SAMPLES, "honest", folder), folder)


@pytest.fixture(scope="module")
def torch_saved(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    python = torch_python()
    if python is None:
        pytest.skip("no interpreter with torch; name one with TORCH_PYTHON")
    folder = tmp_path_factory.mktemp("torch")
    return _scanned(write_with(python, "torch", folder), folder)


def test_at_least_120_malicious_samples_cover_the_formats(malicious: Scanned) -> None:
    families = {part.rstrip(".") for sample in malicious.samples for part in sample.rule.split("|")}
    assert len(malicious.samples) >= 120
    assert families >= _FAMILIES


def test_malicious_samples_fail_the_scan(malicious: Scanned) -> None:
    missed = [sample for sample in malicious.samples if not malicious.grave(sample)]
    assert len(missed) <= _MISSED_AT_MOST * len(malicious.samples), malicious.told(missed)


def test_a_finding_about_a_malicious_sample_is_of_its_kind(malicious: Scanned) -> None:
    other = [
        sample
        for sample in malicious.samples
        if (grave := malicious.grave(sample))
        and not any(finding.rule.startswith(tuple(sample.rule.split("|"))) for finding in grave)
    ]
    assert not other, malicious.told(other)


def test_no_malicious_sample_passes(malicious: Scanned) -> None:
    passed = [sample for sample in malicious.samples if not malicious.grave(sample) and not malicious.gaps(sample)]
    assert not passed, malicious.told(passed)


def test_at_least_60_honest_samples_are_scanned(honest: Scanned) -> None:
    assert len(honest.samples) >= 60


def test_honest_samples_raise_no_false_alarm(honest: Scanned) -> None:
    alarms = [sample for sample in honest.samples if honest.grave(sample)]
    assert len(alarms) <= _FALSE_ALARMS_AT_MOST * len(honest.samples), honest.told(alarms)


def test_honest_samples_of_known_kinds_are_covered(honest: Scanned) -> None:
    uncovered = [sample for sample in honest.samples if sample.known and honest.gaps(sample)]
    assert not uncovered, honest.told(uncovered)


def test_honest_samples_of_unknown_kinds_are_inconclusive(honest: Scanned) -> None:
    other = [sample for sample in honest.samples if not sample.known and not honest.gaps(sample)]
    assert not other, honest.told(other)


def test_what_torch_saves_passes(torch_saved: Scanned) -> None:
    other = [sample for sample in torch_saved.samples if torch_saved.grave(sample) or torch_saved.gaps(sample)]
    assert not other, torch_saved.told(other)
