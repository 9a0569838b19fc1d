"""The one door from the security scan: everything about origin and dependencies, after the files were scanned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from model_approval.domain.errors import ModelApprovalError
from model_approval.validators.contract import Task
from model_approval.validators.security_scan.parameters import parameters_of
from model_approval.validators.security_scan.scan import FileScan
from model_approval.validators.supply_chain.bill_of_materials import attach_bill
from model_approval.validators.supply_chain.inspection import Inspection
from model_approval.validators.supply_chain.licences import Licence, check_licences
from model_approval.validators.supply_chain.model_card import ModelCard, read_card
from model_approval.validators.supply_chain.names import is_list_of_dependencies
from model_approval.validators.supply_chain.signature import check_signature

if TYPE_CHECKING:
    from model_approval.validators.security_scan.dependencies import Declared
    from model_approval.validators.supply_chain.vulnerability_database import Database

DEFAULT_PATH = Path("/opt/model-approval/osv")
"""Where the validators' image keeps known vulnerabilities, when it was built or mounted with them."""


def database_of(task: Task) -> Database | None:
    """Open the database of known vulnerabilities, before the process locks itself in; None when there is none.

    Raises:
        EvidenceError: The one that was named is missing or damaged, or the check's parameters are unreadable.
    """
    named = parameters_of(task).vulnerability_database or task.vulnerability_database
    if named is None and not DEFAULT_PATH.exists():
        return None
    from model_approval.validators.supply_chain.vulnerability_database import open_database

    return open_database(Path(named) if named else DEFAULT_PATH)


def supply_chain(task: Task, scans: Sequence[FileScan], database: Database | None = None) -> Inspection:
    """Inspect what the artifact says about its origin.

    Call it before coverage is computed: what could not be established becomes a gap of the file that declares it.

    Args:
        task: What to look at, with the check's parameters.
        scans: The scan of every file.
        database: Known vulnerabilities, from `database_of`.

    Raises:
        EvidenceError: The check's parameters are unreadable.
    """
    inspection = Inspection(
        task=task,
        parameters=parameters_of(task),
        scans={scan.path: scan for scan in scans},
        now=datetime.now(UTC),
    )
    _guarded(inspection, "signature", lambda: check_signature(inspection))
    declared = _guarded(inspection, "declared packages", lambda: _dependencies(inspection, database)) or ()
    card = _guarded(inspection, "model card", lambda: read_card(inspection)) or ModelCard()
    licence = _guarded(inspection, "licence", lambda: check_licences(inspection, card)) or Licence()
    _guarded(inspection, "bill of materials", lambda: attach_bill(inspection, card, licence, declared))
    return inspection


def _dependencies(inspection: Inspection, database: Database | None) -> tuple[Declared, ...]:
    if not any(is_list_of_dependencies(path) for path in inspection.scans):
        return ()
    from model_approval.validators.supply_chain.dependencies import check_dependencies, read_dependencies

    declared = read_dependencies(inspection)
    check_dependencies(inspection, declared, database)
    return declared


ResultT = TypeVar("ResultT")


def _guarded(inspection: Inspection, what: str, act: Callable[[], ResultT]) -> ResultT | None:
    """Do one part; where it crashes, that is a limitation, and what was found before and in files still stands."""
    try:
        return act()
    except ModelApprovalError:
        raise  # our own words about a parameter or database, not about the artifact
    except Exception as why:  # noqa: BLE001  # a hostile card must not hide what was found in all other files
        inspection.limit(f"the {what} could not be inspected: {type(why).__name__}: {why}")
        return None
