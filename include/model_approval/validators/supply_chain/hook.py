"""The one door from the security scan: everything about origin and dependencies, after the files were scanned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from model_approval.validators.contract import Task
from model_approval.validators.security_scan.parameters import parameters_of
from model_approval.validators.security_scan.scan import FileScan
from model_approval.validators.supply_chain.inspection import Inspection
from model_approval.validators.supply_chain.signature import check_signature


def supply_chain(task: Task, scans: Sequence[FileScan]) -> Inspection:
    """Inspect what the artifact says about its origin.

    Call it before coverage is computed: what could not be established becomes a gap of the file that declares it.

    Raises:
        EvidenceError: The check's parameters are unreadable.
    """
    inspection = Inspection(
        task=task,
        parameters=parameters_of(task),
        scans={scan.path: scan for scan in scans},
        now=datetime.now(UTC),
    )
    check_signature(inspection)
    return inspection
