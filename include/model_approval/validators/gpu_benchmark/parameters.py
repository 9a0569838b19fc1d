"""What a policy may set for a benchmark (`parameters` of the check)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from model_approval.domain.base import Record
from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import Task

FEWEST_FOR_P99 = 200
"""Below that p99 rests on one or two requests."""


class Parameters(Record):
    """Defaults give a measurement of five to ten seconds for models that answer within 20 ms."""

    model: str | None = None
    """Path of the ONNX file in the artifact; needed when there are several."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    dimensions: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]] = {}
    """Sizes of the model's other open dimensions by name, for example a sequence length."""
    min_queries: Annotated[int, Field(ge=10, le=1_000_000)] = FEWEST_FOR_P99
    """Requests to each model, at least."""
    duration_s: Annotated[float, Field(gt=0, le=3600)] = 3.0
    """Measuring time, at least."""
    max_duration_s: Annotated[float, Field(gt=0, le=7200)] = 30.0
    """When a slow model is given up on; the evidence then says that it is incomplete, and no limit is passed by it.
    Thirty seconds are enough for 200 requests of 150 ms: raise it for models that may be slower."""
    warm_up_s: Annotated[float, Field(ge=0, le=600)] = 2.0
    """Longest warm-up; it ends earlier once two windows agree within 2 %."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Unset: as many as the container or machine grants."""
    memory_mib: Annotated[int, Field(ge=64)] = 16 * 1024
    """Limit for the data of each model's process."""


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
        raise EvidenceError(f"parameter {field}: {first['msg']}", hint="mend `parameters` of the check") from err
