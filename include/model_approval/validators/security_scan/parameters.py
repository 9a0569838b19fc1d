"""The check's parameters, as the validator reads them."""

from __future__ import annotations

from pydantic import ValidationError

from model_approval.domain.errors import EvidenceError
from model_approval.domain.scan_parameters import ScanParameters
from model_approval.validators.contract import Task


def parameters_of(task: Task) -> ScanParameters:
    """Read the check's parameters.

    Raises:
        EvidenceError: An unknown or unreadable one; names it.
    """
    try:
        return ScanParameters.model_validate(task.input.parameters)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(f"parameter {field}: {first['msg']}", hint="mend `parameters` of the check") from err
