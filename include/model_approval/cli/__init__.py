"""The command line: `model-approval`. Each command parses, calls one use case and prints; it holds no rules."""

from __future__ import annotations

import logging
import sys
from importlib import import_module

import typer

log = logging.getLogger(__name__)

_ON_FILES = ("scan", "benchmark", "digest")
"""Commands about files that are here; they start at once and import nothing of the others."""


def make_app(first: str | None = None) -> typer.Typer:
    """The command line; with the first argument known, only the commands that it may mean."""
    app = typer.Typer(
        name="model-approval",
        help="The gatekeeper of the model registry. Exit codes: 0 yes, 1 a clear no, 2 bad input, 3 could not tell.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    import_module("model_approval.cli.artifacts").register(app)
    if first in _ON_FILES:
        return app
    from model_approval.cli import audit, policies, requests, system, validators, vulnerabilities

    requests.register(app)
    system.register(app)
    app.add_typer(policies.app, name="policy", help="Check and show policy files.")
    app.add_typer(audit.app, name="audit", help="Verify and export the audit log.")
    app.add_typer(vulnerabilities.app, name="vulnerabilities", help="The database of known vulnerabilities.")
    app.add_typer(validators.app, name="validator", help="Hold a validator of your own to the contract.")
    app.add_typer(system.database, name="db", help="The review database.")
    return app


def main() -> None:
    """Run a command; our own errors become one line in words and an exit code.

    A breakdown never exits with 1: a program would read it as a clear no.
    """
    try:
        make_app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except Exception as err:  # noqa: BLE001  # the outer edge: everything ends in words and an exit code
        sys.exit(_ended_by(err))


def _ended_by(err: Exception) -> int:
    from model_approval.cli.output import ExitCode, fail
    from model_approval.domain.errors import EvidenceError, ModelApprovalError, OutsideSystemError

    if isinstance(err, OutsideSystemError | EvidenceError):
        return fail(err, ExitCode.COULD_NOT_TELL)
    if isinstance(err, ModelApprovalError):
        return fail(err, ExitCode.BAD_INPUT)
    if isinstance(err, OSError):
        return fail(ModelApprovalError(f"{err.filename or 'input or output'}: {err.strerror}"), ExitCode.BAD_INPUT)
    log.error("model-approval broke; please report it with these lines", exc_info=err)
    return int(ExitCode.COULD_NOT_TELL)
