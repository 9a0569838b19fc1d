"""The command line: `model-approval`. Each command parses, calls one use case and prints; it holds no rules."""

from __future__ import annotations

import logging
import sys

import typer

from model_approval.cli import artifacts, audit, policies, requests, system
from model_approval.cli.output import ExitCode, fail
from model_approval.domain.errors import EvidenceError, ModelApprovalError, OutsideSystemError

log = logging.getLogger(__name__)

app = typer.Typer(
    name="model-approval",
    help="The gatekeeper of the model registry. Exit codes: 0 yes, 1 a clear no, 2 bad input, 3 could not tell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
requests.register(app)
artifacts.register(app)
system.register(app)
app.add_typer(policies.app, name="policy", help="Check and show policy files.")
app.add_typer(audit.app, name="audit", help="Verify and export the audit log.")
app.add_typer(system.database, name="db", help="The review database.")


def main() -> None:
    """Run a command; our own errors become one line in words and an exit code.

    A breakdown never exits with 1: a program would read it as a clear no.
    """
    try:
        app()
    except (OutsideSystemError, EvidenceError) as err:
        sys.exit(fail(err, ExitCode.COULD_NOT_TELL))
    except ModelApprovalError as err:
        sys.exit(fail(err, ExitCode.BAD_INPUT))
    except OSError as err:
        sys.exit(fail(ModelApprovalError(f"{err.filename or 'input or output'}: {err.strerror}"), ExitCode.BAD_INPUT))
    except Exception:  # the outer edge: a mistake of ours
        log.exception("model-approval broke; please report it with these lines")
        sys.exit(ExitCode.COULD_NOT_TELL)
