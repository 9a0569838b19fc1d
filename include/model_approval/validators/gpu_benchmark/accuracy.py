"""How right the model is on a labelled holdout, and whether it is as right as the champion on the very same samples.

Each measure becomes a metric with its 95 % interval; with a champion also the paired difference (candidate minus
champion) and, where shares are compared, McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Metric, Ratio
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import HoldoutParameters
from model_approval.validators.gpu_benchmark.holdout import Holdout, read_holdout
from model_approval.validators.gpu_benchmark.intervals import bootstrap_interval, mcnemar_exact, wilson_interval
from model_approval.validators.gpu_benchmark.open_inference import Metadata
from model_approval.validators.gpu_benchmark.quality import Answers, Quality, quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNITS = {
    "accuracy": "fraction", "exact_match": "fraction", "f1_macro": "fraction", "auc": "fraction",
    "log_loss": "nats", "rmse": "units", "mae": "units", "max_deviation": "units",
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """What the holdout brought."""

    metrics: tuple[Metric, ...]
    environment: dict[str, str] = field(default_factory=dict)
    limitations: tuple[str, ...] = ()


def measure_accuracy(
    folder: Path, wanted: HoldoutParameters, candidate: Endpoint, champion: Endpoint | None, *, seed: int
) -> Judged:
    """Ask candidate and champion the whole holdout and compare with what it says.

    Raises:
        EvidenceError: The file, the parameter or an answer is not fit for it; names which.
    """
    metadata = candidate.metadata()
    holdout = read_holdout(folder, wanted, metadata)
    answers = ask_all(candidate, holdout, metadata, wanted.batch_size)
    champions, limitations = _of_champion(champion, holdout, wanted)
    metrics: list[Metric] = []
    for name in wanted.metrics:
        mine = quality(name, holdout, answers, wanted)
        theirs = quality(name, holdout, champions, wanted) if champions is not None else None
        metrics += compare(name, mine, theirs, seed=seed)
    claim = "the sender's own claim, sent with the artifact" if wanted.sha256 is None else "named by the policy"
    if wanted.sha256 is not None and wanted.sha256 != holdout.digest:
        limitations.append(f"the holdout {wanted.path} is {holdout.digest}, the policy names {wanted.sha256}")
    return Judged(
        tuple(metrics),
        {"holdout": f"{wanted.path}, {holdout.rows} rows, {holdout.digest}: {claim}"},
        tuple(limitations),
    )


def _of_champion(
    champion: Endpoint | None, holdout: Holdout, wanted: HoldoutParameters
) -> tuple[Answers | None, list[str]]:
    """The champion's answers, or why there are none: that it takes other inputs says nothing against the candidate."""
    if champion is None:
        return None, []
    try:
        return ask_all(champion, holdout, champion.metadata(), wanted.batch_size), []
    except EvidenceError as err:
        return None, [f"holdout: no comparison with the champion: {err.message}"[:4000]]


def ask_all(endpoint: Endpoint, holdout: Holdout, metadata: Metadata, batch_size: int) -> Answers:
    """The model's outputs for every row, in order.

    A model whose signature fixes the batch is asked in batches of that size, the last one filled up with the last row.
    """
    import numpy as np

    fixed = {info.shape[0] for info in metadata.inputs if info.shape and info.shape[0] > 0}
    size = min(fixed) if fixed else batch_size
    parts: dict[str, list[NDArray[Any]]] = {}
    for start in range(0, holdout.rows, size):
        count = min(size, holdout.rows - start)
        rows = np.minimum(np.arange(start, start + (size if fixed else count)), holdout.rows - 1)
        prepared = endpoint.prepare({name: array[rows] for name, array in holdout.inputs.items()})
        for name, array in endpoint.infer(prepared).outputs().items():
            if array.ndim == 0 or len(array) != len(rows):
                raise EvidenceError(
                    f"{endpoint.who}: output {name!r} has shape {list(array.shape)} for {len(rows)} rows: "
                    "answers cannot be told apart by row"
                )
            parts.setdefault(name, []).append(array[:count])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def compare(name: str, mine: Quality, theirs: Quality | None, *, seed: int) -> list[Metric]:
    """The metrics of one measure: itself, and with a champion the paired difference and McNemar's test."""
    import numpy as np

    everything = np.arange(mine.size)
    value, unit = mine.of(everything), _UNITS[name]
    if not math.isfinite(value):
        raise EvidenceError(f"{name} has no value on this holdout: one class alone, or answers that are no numbers")
    if mine.hits is not None:
        low, high = wilson_interval(int(mine.hits.sum()), mine.size)
    else:
        low, high = _bootstrapped(name, mine.of, mine.size, seed)  # type: ignore[assignment]
    baseline = theirs.of(everything) if theirs else None
    figure = {"value": value, "unit": unit, "low": low, "high": high, "baseline": baseline, "samples": mine.size}
    if theirs is None or baseline is None or not math.isfinite(baseline):
        return [Metric.model_validate({"name": name, **figure, "baseline": None})]
    metrics = [Metric.model_validate({"name": name, **figure, "ratio": _ratio(name, mine, theirs, seed)})]
    metrics.append(_difference(name, mine, theirs, seed))
    if mine.hits is not None and theirs.hits is not None:
        only_mine, only_theirs = int((mine.hits & ~theirs.hits).sum()), int((~mine.hits & theirs.hits).sum())
        chance = mcnemar_exact(only_mine, only_theirs)
        metrics.append(Metric(name=f"{name}_mcnemar", value=chance, unit="probability", samples=mine.size))
    return metrics


def _difference(name: str, mine: Quality, theirs: Quality, seed: int) -> Metric:
    import numpy as np

    everything = np.arange(mine.size)
    low, high = _bootstrapped(name, lambda at: mine.of(at) - theirs.of(at), mine.size, seed)
    value = mine.of(everything) - theirs.of(everything)
    return Metric(name=f"{name}_difference", value=value, unit=_UNITS[name], low=low, high=high, samples=mine.size)


def _ratio(name: str, mine: Quality, theirs: Quality, seed: int) -> Ratio | None:
    """Candidate divided by champion, resampled in pairs; the same bytes give the same answers, so there is no noise."""
    import numpy as np

    everything = np.arange(mine.size)
    over, under = mine.of(everything), theirs.of(everything)
    if over <= 0 or under <= 0:
        return None
    low, high = _bootstrapped(name, lambda at: _quotient(mine.of(at), theirs.of(at)), mine.size, seed)
    if low is None or high is None or low <= 0:
        return None
    return Ratio(value=over / under, low=low, high=high, noise=0.0)


def _quotient(over: float, under: float) -> float:
    return over / under if under > 0 else math.nan


def _bootstrapped(
    name: str, statistic: Callable[[NDArray[Any]], float], size: int, seed: int
) -> tuple[float | None, float | None]:
    """No interval for a maximum: resampling never draws a larger one than was seen."""
    return (None, None) if name == "max_deviation" else bootstrap_interval(statistic, size, seed=seed)
