"""Step 6, record: the audit log's only writer, and what verifies it.

`record` appends an event before its effect is visible. `verify_log` and `verify_bundle` name everything that is wrong
with a log, in the store or exported; `votes_in_log` and `waivers_in_log` tell the decision what people really did, and
`told_by_log` what a promotion's row is held against.
"""

from model_approval.stages.audit.bundle import export_log, export_stream, verify_bundle
from model_approval.stages.audit.held import require_approvable, require_deployable
from model_approval.stages.audit.record import record, told_by_log, votes_in_log, waivers_in_log
from model_approval.stages.audit.verify import AuditReport, heads, pin_heads, read_heads, verify_entries, verify_log

__all__ = [
    "AuditReport",
    "export_log",
    "export_stream",
    "heads",
    "pin_heads",
    "read_heads",
    "record",
    "require_approvable",
    "require_deployable",
    "told_by_log",
    "verify_bundle",
    "verify_entries",
    "verify_log",
    "votes_in_log",
    "waivers_in_log",
]
