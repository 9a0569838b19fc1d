"""Engines of the review database: one per process, made when first needed, safe across forks.

SQLite runs in WAL mode with foreign keys, waits up to 30 s for another writer, and syncs every commit to disk; a
writing transaction takes its lock at the start (`BEGIN IMMEDIATE`), so that what it read still holds when it writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session

from model_approval.domain.errors import OutsideSystemError

if TYPE_CHECKING:
    from sqlite3 import Connection as SqliteConnection

BUSY_TIMEOUT_S = 30
SYSTEM = "review database"
UPGRADE_HINT = "run `model-approval db upgrade`"

_engines: dict[tuple[int, str], Engine] = {}
"""Keyed by process: a forked child must not speak over its parent's connections. The parent's engines stay in the
child's dictionary untouched, since closing them there would end the parent's sessions on the server."""


def engine_for(url: str) -> Engine:
    """This process's engine for a database.

    Raises:
        OutsideSystemError: The URL cannot be read, or names a driver that is not installed.
    """
    key = (os.getpid(), url)
    if key not in _engines:
        _engines[key] = _make(url)
    return _engines[key]


def dispose(url: str) -> None:
    """Close this process's connections to a database, if it has any."""
    engine = _engines.pop((os.getpid(), url), None)
    if engine is not None:
        engine.dispose()


def _make(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True, pool_size=5, max_overflow=10)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
    except (ArgumentError, ImportError) as err:
        # The URL may hold a password, so it is not repeated.
        raise OutsideSystemError(
            SYSTEM,
            f"its URL cannot be used: {type(err).__name__}",
            retryable=False,
            hint="mend MODEL_APPROVAL_DATABASE_URL",
        ) from err
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: SqliteConnection, _: object) -> None:
    connection.isolation_level = None  # the driver would otherwise begin transactions at times of its own
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_S * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def transaction(url: str, *, writes: bool) -> Iterator[Session]:
    """One transaction: committed at the end, rolled back when anything is raised.

    Raises:
        OutsideSystemError: The database cannot be reached, is locked for longer than the timeout, or lacks our tables.
        sqlalchemy.exc.IntegrityError: A constraint refused a row; the caller knows what that means.
    """
    with (
        database_errors(),
        engine_for(url).connect().execution_options(**{"writes": writes}) as connection,
        Session(bind=connection) as session,
        session.begin(),
    ):
        yield session


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn the driver's errors into ours, all but a refused constraint."""
    try:
        yield
    except IntegrityError:
        raise
    except (ProgrammingError, OperationalError) as err:
        missing = "no such table" in str(err.orig) or "does not exist" in str(err.orig)
        hint = UPGRADE_HINT if missing else ""
        raise OutsideSystemError(SYSTEM, _first_line(err), retryable=not missing, hint=hint) from err
    except DBAPIError as err:
        raise OutsideSystemError(SYSTEM, _first_line(err), retryable=err.connection_invalidated) from err
    except SQLAlchemyError as err:
        raise OutsideSystemError(SYSTEM, str(err).splitlines()[0]) from err


def _first_line(err: DBAPIError) -> str:
    return (str(err.orig).splitlines() or [type(err).__name__])[0]
