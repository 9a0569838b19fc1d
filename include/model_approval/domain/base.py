"""What every stored or exchanged record shares: frozen, strict about unknown keys, times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


class Record(BaseModel):
    """An immutable value. Unknown keys are refused: a typo in a payload or policy must never pass unseen.

    Written under the names it is read by (`schema`, `_type`), so that what was stored can be read back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("the time needs a zone, for example 2026-01-31T12:00:00Z")
    return moment.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_in_utc)]
"""A point in time; naive values are refused, others are turned to UTC."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""Lower-case letters, digits and inner hyphens, at most 63: fits DNS labels, DAG ids and S3 keys."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A model, check or rule name as registries allow it; never a path."""

Subject = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Who somebody is to the auth manager (user name, numeric id or UUID, depending on the manager)."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A digest with its algorithm, as it is written everywhere: `sha256:` and 64 hexadecimal digits."""

Text = Annotated[str, StringConstraints(max_length=4000)]
"""Words by a person or a program, bounded so that hostile metadata cannot fill a page or a log."""

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=4000)]
"""Words that must be there: a reason of blanks is no reason."""
