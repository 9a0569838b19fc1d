"""Every error we raise on purpose. The raiser knows whether trying again helps; the message says what to do.

    ModelApprovalError            .code, .hint, .retryable
    ├─ PolicyError                a policy, committee or target file is wrong (file, line, field): the author mends it
    ├─ RequestRefusedError        a request that cannot start, or intake's no: the requester mends it
    ├─ NotFoundError              no such request, model version, policy
    ├─ TransitionError            a step that the state table does not know: a race, or a mistake of ours
    ├─ IntegrityError             bytes, signature or record differ from what was pinned: nothing proceeds
    │  └─ UntrustedKeyError       signed, but by a key nobody trusts here
    ├─ EvidenceError              a validator's output breaks the contract: its check is *errored*, not failed
    ├─ DecisionError              not allowed (403); stale, or already decided (409)
    ├─ DeploymentError            the target took the manifest but the model does not serve as promised
    └─ OutsideSystemError         registry, cluster, store, database: cause chained, `retryable` says if it may pass

A *no* is a value (`Verdict.FAILED`); a breakdown is an exception.
"""

from __future__ import annotations

from enum import StrEnum


class ModelApprovalError(Exception):
    """Base of all our errors.

    Attributes:
        code: Stable identifier for documentation and programs.
        hint: What a person should do next, one sentence, or empty.
        retryable: Whether the same call may succeed later without anybody mending anything.
    """

    code = "MA-0000"
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class PolicyError(ModelApprovalError):
    """A configuration file cannot be used. Formats as `file:line: field: what is wrong`."""

    code = "MA-1001"

    def __init__(self, message: str, *, file: str = "", line: int = 0, field: str = "", hint: str = "") -> None:
        where = ":".join(str(part) for part in (file, line or "") if part)
        super().__init__(": ".join(part for part in (where, field, message) if part), hint=hint)
        self.file, self.line, self.field = file, line, field


class RequestRefusedError(ModelApprovalError):
    """A promotion request that must not start: bad payload, no policy, nobody eligible, wrong state."""

    code = "MA-2001"


class TransitionError(ModelApprovalError):
    """A step that the state table of promotions does not know."""

    code = "MA-2409"


class NotFoundError(ModelApprovalError):
    """What was asked for does not exist."""

    code = "MA-2404"


class IntegrityError(ModelApprovalError):
    """Something is not what was pinned, signed or recorded. Never retried: somebody must look."""

    code = "MA-3001"


class UntrustedKeyError(IntegrityError):
    """Every signature names a key that is not trusted here."""

    code = "MA-3002"


class EvidenceError(ModelApprovalError):
    """Evidence is missing, malformed or about something else."""

    code = "MA-4001"


class Denial(StrEnum):
    """Why a decision was refused, and the HTTP status that says so."""

    FORBIDDEN = "forbidden"
    """This person may not do this (403)."""
    CONFLICT = "conflict"
    """The record moved on: stale evidence, second vote, already decided (409)."""
    INVALID = "invalid"
    """Something required is missing from the input (422)."""


class DecisionError(ModelApprovalError):
    """A vote, waiver or withdrawal that cannot be taken."""

    code = "MA-5001"

    def __init__(self, message: str, *, denial: Denial, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.denial = denial


class DeploymentError(ModelApprovalError):
    """The deployment does not serve as promised: not ready, wrong answer, missing security header."""

    code = "MA-6001"


class OutsideSystemError(ModelApprovalError):
    """A system we lean on did not answer as it must. Raise it `from` the SDK's own error."""

    code = "MA-7001"

    def __init__(self, system: str, message: str, *, retryable: bool = True, hint: str = "") -> None:
        super().__init__(f"{system}: {message}", hint=hint)
        self.system = system
        self.retryable = retryable
