"""Keys and passwords of an embedded installation: made once, kept for the next start, readable by the owner alone."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from model_approval.domain.errors import PolicyError
from model_approval.embedded.layout import Layout
from model_approval.embedded.people import PEOPLE


class StackSecrets(BaseModel):
    """What Airflow's components share. Sessions and encrypted trigger rows survive a restart because these do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fernet_key: str
    jwt_secret: str
    api_secret_key: str
    passwords: dict[str, str]


def load_secrets(layout: Layout) -> StackSecrets:
    """Read the secrets, making them at the first start; writes the passwords where Airflow looks for them.

    Raises:
        PolicyError: The file is there but cannot be read.
    """
    if layout.secrets.exists():
        known = _read(layout.secrets)
    else:
        known = StackSecrets(
            fernet_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
            jwt_secret=secrets.token_urlsafe(48),
            api_secret_key=secrets.token_urlsafe(48),
            passwords={},
        )
    passwords = {person.name: known.passwords.get(person.name) or secrets.token_urlsafe(9) for person in PEOPLE}
    complete = known.model_copy(update={"passwords": passwords})
    if complete != known:
        write_private(layout.secrets, complete.model_dump_json(indent=2))
    # Airflow opens this file for writing and adds users that it lacks, so it gets its own copy.
    write_private(layout.passwords, json.dumps(passwords))
    return complete


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only the owner can read, at no moment readable by others or half written."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    partial.replace(path)


def _read(path: Path) -> StackSecrets:
    try:
        return StackSecrets.model_validate_json(path.read_text())
    except (OSError, ValidationError) as err:
        # Only what is wrong, never the content: the message ends up on terminals and in logs.
        what = str(err) if isinstance(err, OSError) else str(err.errors()[0]["msg"])
        raise PolicyError(
            f"the installation's secrets cannot be read: {what}",
            file=str(path),
            hint="restore the file, or remove the whole state folder to begin anew",
        ) from err
