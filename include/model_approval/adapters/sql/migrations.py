"""Brings the review database's tables up to date, or says that they are not.

The migrations lie in `include/migrations`; Alembic runs them over a connection of ours inside one transaction that
only one process at a time can hold, so several may start up together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import ArgumentError

from model_approval.adapters.sql.engine import SYSTEM, UPGRADE_HINT, database_errors, engine_for
from model_approval.adapters.sql.models import VERSION_TABLE, Base
from model_approval.domain.errors import OutsideSystemError

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parents[3] / "migrations"

_POSTGRES_LOCK = 0x6D726D01
"""Key of the advisory lock that keeps two processes from migrating at once; any constant of our own would do."""


def upgrade_database(url: str, revision: str = "head") -> str:
    """Create or update the tables; at once when there is nothing to do.

    Returns:
        The revision that the database now has.

    Raises:
        OutsideSystemError: The database cannot be reached or changed.
    """
    from alembic import command

    _make_folder(url)
    with _migrating(url) as config:
        before = _revision(config.attributes["connection"])
        command.upgrade(config, revision)
        after = _revision(config.attributes["connection"])
    if before != after:
        log.info("review database: %s -> %s", before or "empty", after)
    return after or ""


def downgrade_database(url: str, revision: str) -> None:
    """Take migrations back, down to a revision; `base` removes every table of ours with all it holds."""
    from alembic import command

    with _migrating(url) as config:
        command.downgrade(config, revision)


def current_revision(url: str) -> str | None:
    """The revision that the database has; None when it holds no tables of ours."""
    if not _is_there(url):
        return None
    with database_errors(), engine_for(url).connect() as connection:
        return _revision(connection)


def newest_revision() -> str:
    """The revision that this release needs."""
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(_config()).get_current_head())


def require_current(url: str) -> None:
    """Stop a start-up on a database that does not fit this release.

    Raises:
        OutsideSystemError: The tables are missing, older or newer; says what to run.
    """
    found, needed = current_revision(url), newest_revision()
    if found != needed:
        state = f"its tables are at revision {found}" if found else "it has no tables of ours yet"
        raise OutsideSystemError(SYSTEM, f"{state}, this release needs {needed}", retryable=False, hint=UPGRADE_HINT)


def new_revision(url: str, message: str) -> None:
    """Write a new migration from the difference between the models and a database that is up to date."""
    from alembic import command

    with _migrating(url) as config:
        command.revision(config, message, autogenerate=True)


def differences(url: str) -> list[object]:
    """What the models have otherwise than the database; empty when migrations and models agree."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    options = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "include_object": lambda _item, name, kind, *_: kind != "table" or str(name).startswith("mrm_"),
    }
    with database_errors(), engine_for(url).connect() as connection:
        found: list[object] = compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)
        return found


@contextmanager
def _migrating(url: str) -> Iterator[Config]:
    with (
        database_errors(),
        engine_for(url).connect().execution_options(**{"writes": True}) as connection,
        connection.begin(),
    ):
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        config = _config()
        config.attributes["connection"] = connection
        yield config


def _config() -> Config:
    from alembic.config import Config

    if not (MIGRATIONS / "env.py").is_file():
        raise OutsideSystemError(
            SYSTEM, f"its migrations are not at {MIGRATIONS}", retryable=False, hint="install from the source tree"
        )
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _revision(connection: Connection) -> str | None:
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _sqlite_file(url: str) -> Path | None:
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None  # the engine says what is wrong with it
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if is_file else None


def _make_folder(url: str) -> None:
    if file := _sqlite_file(url):
        file.parent.mkdir(parents=True, exist_ok=True)


def _is_there(url: str) -> bool:
    """Asking a missing SQLite file for its revision would create it."""
    file = _sqlite_file(url)
    return file is None or file.exists()
