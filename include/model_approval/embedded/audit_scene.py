"""The last scene: an auditor verifies the exported record, and a record that was edited, with the public key alone."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.processes import clean_environment
from model_approval.embedded.report import Report
from model_approval.ports import Services
from model_approval.stages.audit import export_log

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Verification:
    """What `model-approval audit verify --bundle` said."""

    exit_code: int
    entries: int
    problems: tuple[str, ...]


def audit_offline(services: Services, public_keys: Path, report: Report) -> None:
    """Export everything; verify it; change one word in a copy and see that it is noticed."""
    bundle = export_log(services.audit)
    intact = verify_offline(bundle, public_keys)
    why = intact.problems[0] if intact.problems else f"{intact.entries} entries, verified with the public key alone"
    report.add("audit verify, offline", expected="exit code 0", found=f"exit code {intact.exit_code}", why=why)
    forged = verify_offline(forge(bundle, old=b'"subject":"ana"', new=b'"subject":"eve"'), public_keys)
    why = forged.problems[0] if forged.problems else "nothing was noticed"
    report.add(
        "the same after a name in it is changed", expected="exit code 1", found=f"exit code {forged.exit_code}", why=why
    )


def verify_offline(bundle: bytes, public_keys: Path) -> Verification:
    """Verify an exported record as an auditor would, in a process that has the file and the public keys, nothing else.

    Args:
        bundle: The exported file's content.
        public_keys: Folder of public keys; copied to the auditor's desk.
    """
    with tempfile.TemporaryDirectory(prefix="auditor-") as name:
        desk = Path(name)
        (desk / "record.bundle").write_bytes(bundle)
        shutil.copytree(public_keys, desk / "keys")
        done = subprocess.run(
            [
                sys.executable, "-c", "from model_approval.cli import main; main()",
                "audit", "verify", "--bundle=record.bundle", "--key=keys", "--json",
            ],
            cwd=desk,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return Verification(done.returncode, 0, (done.stderr.strip()[-500:] or "no report",))
    problems = tuple(f"{p['stream']} {p['sequence']}: {p['kind']}: {p['message']}" for p in report["problems"])
    return Verification(done.returncode, report["entries"], problems)


def forge(bundle: bytes, *, old: bytes, new: bytes) -> bytes:
    """The same file with a word changed inside the first signed entry that holds it.

    Raises:
        OutsideSystemError: No entry holds it, so that nothing would be shown.
    """
    lines = bundle.splitlines()
    for number, text in enumerate(lines[1:], start=1):
        entry = json.loads(text)
        envelope = json.loads(base64.b64decode(entry["envelope"]))
        payload = base64.b64decode(envelope["payload"])
        if old in payload:
            envelope["payload"] = base64.b64encode(payload.replace(old, new)).decode()
            entry["envelope"] = base64.b64encode(json.dumps(envelope).encode()).decode()
            return b"\n".join([*lines[:number], json.dumps(entry).encode(), *lines[number + 1 :], b""])
    raise OutsideSystemError("audit log", f"no entry of the exported bundle holds {old!r}", retryable=False)
