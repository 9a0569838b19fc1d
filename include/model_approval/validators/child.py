"""The process that touches the artifact: it locks itself in, runs one validator and reports over a pipe.

Started by the supervisor with an empty environment: `python -I -m model_approval.validators.child --report-fd N`, the
task on standard input. Exit 0: the report was written. Exit 3: the validator said in words why it could not work.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from model_approval.domain.errors import EvidenceError, ModelApprovalError
from model_approval.validators.confinement import Reach, confine
from model_approval.validators.contract import MAX_REPORT_BYTES, MAX_TASK_BYTES, Report, Task, parse_record, plain_line
from model_approval.validators.registry import VALIDATORS, Entry, entry_of

EXIT_REFUSED = 3
EXIT_BROKEN = 4


def run_task(task: Task, registry: Mapping[str, Entry] = VALIDATORS) -> Report:
    """Run one validator in this process, which is confined from then on.

    Raises:
        EvidenceError: No such validator, or it cannot do its work, in words.
    """
    validator = entry_of(task.validator, registry).make()
    validator.prepare(task)
    champion = (task.champion_path,) if task.champion_path else ()
    confinement = confine(
        validator.bounds(task),
        Reach(readable=(task.artifact_path, *champion), writable=(Path(task.scratch),)),
        # Threads share this: the supervisor's clock is the limit, this one ends a process that outlived its supervisor.
        cpu_s=task.timeout_s * (os.cpu_count() or 1) + 60,
    )
    report = validator.run(task)
    return report.model_copy(update={"environment": {**report.environment, **confinement}})


def main(argv: list[str] | None = None, registry: Mapping[str, Entry] = VALIDATORS) -> int:
    """Run the task on standard input; returns the exit code."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.child", description=__doc__)
    parser.add_argument("--report-fd", type=int, required=True)
    report_fd = parser.parse_args(argv).report_fd
    try:
        task = parse_record(Task, sys.stdin.buffer.read(MAX_TASK_BYTES + 1), what="task")
        data = run_task(task, registry).model_dump_json().encode()
        if len(data) > MAX_REPORT_BYTES:
            raise EvidenceError(f"the report has {len(data)} bytes, {MAX_REPORT_BYTES} are allowed")
        with os.fdopen(report_fd, "wb") as pipe:
            pipe.write(data)
    except ModelApprovalError as err:
        sys.stderr.write(plain_line(str(err)) + "\n")
        return EXIT_REFUSED
    except Exception as err:  # noqa: BLE001  # outer edge of this process: one line, the supervisor reports it
        sys.stderr.write(plain_line(f"{type(err).__name__}: {err}") + "\n")
        return EXIT_BROKEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
