"""What a policy may set for a benchmark (`parameters` of the check)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import Task
from model_approval.validators.gpu_benchmark.extra_parameters import ExtraParameters

_SHARE_OF_MARGIN, _FINEST, _COARSE, _USUAL_PRECISION = 0.4, 0.005, 0.1, 0.02

Scenarios = Literal["single_stream", "multi_stream", "offline"]


class Parameters(ExtraParameters):
    """Defaults give a measurement of about ten seconds for models that answer within 2 ms."""

    model: str | None = None
    """Path of the model's file in the artifact; needed when there are several."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    """Samples in one request."""
    dimensions: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]] = {}
    """Sizes of the model's other open dimensions by name, for example a sequence length."""
    scenarios: tuple[Scenarios, ...] = ("single_stream", "offline")
    """LoadGen scenarios to run; `server` runs when it has a target."""
    min_queries: Annotated[int, Field(ge=10, le=1_000_000)] = 700
    """Requests of a LoadGen run, at least. Below 662 LoadGen gives no p99, and the evidence is incomplete."""
    duration_s: Annotated[float, Field(gt=0, le=3600)] = 2.0
    """Measuring time of the comparison, at least; LoadGen's runs and the champion's against itself take half of it."""
    max_duration_s: Annotated[float, Field(gt=0, le=7200)] = 30.0
    """Longest time of each measured part: when a slow model is given up on, and a comparison that stays too vague.
    Thirty seconds are enough for 700 requests of 40 ms: raise it for models that may be slower."""
    ratio_limits: dict[Literal["latency_p50", "throughput"], Annotated[float, Field(gt=0)]] | None = None
    """The policy's limits relative to the champion, filled in by the workflow: they say how exactly a ratio must be
    known."""
    ratio_precision: Annotated[float, Field(ge=0.001, le=0.5)] | None = None
    """Wanted half width of the ratios' 95 % intervals; the comparison goes on until it is reached. Unset: four tenths
    of the margin that a limit grants (0.02 for 1.05), 0.1 for a ratio without a limit, 0.02 without a policy."""
    processes: Annotated[int, Field(ge=1, le=32)] = 12
    """Server processes of each model, at most, where a ratio is wanted: two processes of one model may differ for their
    whole lives. Fewer where loading takes long or memory is short. With 1 the difference between processes is left out
    of interval and noise floor. The interval's half width is at least 0.9 times the standard deviation between
    processes with 12, 0.6 times with 24."""
    server_target_qps: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Rate of the Server scenario, Poisson arrivals; needs `server_latency_ms`."""
    server_latency_ms: Annotated[float, Field(gt=0, le=3_600_000)] | None = None
    """Server scenario: what 99 % of the answers must keep."""
    samples_per_query: Annotated[int, Field(ge=1, le=1024)] = 8
    """MultiStream: how many samples come at once."""
    in_flight: Annotated[int, Field(ge=1, le=256)] = 2
    """Requests under way at a time where throughput is measured."""
    warm_up_s: Annotated[float, Field(ge=0, le=600)] = 2.0
    """Longest warm-up of each model; it ends earlier once two windows agree within 2 %."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads of one inference. Unset: as many as the container or machine grants."""
    memory_mib: Annotated[int, Field(ge=64)] = 16 * 1024
    """Limit for the data of each model server's process."""
    allow_code: bool = False
    """Whether code that comes with the artifact may run, confined, where its runtime needs that (MLflow, torch)."""

    @property
    def wants_ratio(self) -> bool:
        """Whether a ratio to the champion matters; a policy without relative limits needs none."""
        return self.ratio_limits is None or bool(self.ratio_limits)

    def precision(self, metric: Literal["latency_p50", "throughput"]) -> float:
        """Wanted half width of a ratio's interval, on the logarithmic scale.

        Four tenths of the margin: a model as fast as its champion is then within the limit in at least 95 of 100 runs,
        since estimate and half width together (1.645 + 1.96 standard errors) stay below the margin.
        """
        if self.ratio_precision is not None:
            return self.ratio_precision
        if self.ratio_limits is None:
            return _USUAL_PRECISION
        limit = self.ratio_limits.get(metric)
        return _COARSE if limit is None else max(_FINEST, min(_COARSE, _SHARE_OF_MARGIN * abs(math.log(limit))))

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        if (self.server_target_qps is None) != (self.server_latency_ms is None):
            raise ValueError("server_target_qps and server_latency_ms go together")
        if self.max_duration_s < self.duration_s:
            raise ValueError(f"max_duration_s is {self.max_duration_s:g}, less than duration_s")
        return self


def parameters_of(task: Task) -> Parameters:
    """Read the check's parameters.

    Raises:
        EvidenceError: An unknown or unreadable one; names it.
    """
    try:
        return Parameters.model_validate(task.input.parameters)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        what = f"parameter {field}" if field else "parameters"
        raise EvidenceError(f"{what}: {first['msg']}", hint="mend `parameters` of the check") from err
