"""Lets `airflow db migrate` bring our review database up to date as well.

Set `AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS=model_approval.operators.db_manager.ReviewDBManager`. Airflow then waits
for our migrations too (`airflow db check-migrations`), so no process starts on tables that do not fit.

The review database has a URL of its own, so everything here that Airflow would do over its own session is done over
ours. `airflow db reset` leaves the reviews alone: they are records, not state of a scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.utils.db_manager import BaseDBManager

from model_approval.adapters.sql.migrations import (
    MIGRATIONS,
    current_revision,
    downgrade_database,
    newest_revision,
    upgrade_database,
)
from model_approval.adapters.sql.models import VERSION_TABLE, Base
from model_approval.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection


class ReviewDBManager(BaseDBManager):
    """Airflow's handle on our migrations."""

    metadata = Base.metadata
    migration_dir = str(MIGRATIONS)
    alembic_file = ""
    """We need none: the configuration is made in `adapters.sql.migrations`."""
    version_table_name = VERSION_TABLE
    supports_table_dropping = False

    @property
    def _url(self) -> str:
        return load_settings().review_database_url

    def get_current_revision(self) -> str | None:
        """The review database's revision, not that of Airflow's."""
        return current_revision(self._url)

    def check_migration(self) -> bool:
        """Whether nothing is left to migrate."""
        return self.get_current_revision() == newest_revision()

    def create_db_from_orm(self) -> None:
        """Run the migrations: tables made from the models would miss what only migrations do."""
        upgrade_database(self._url)

    def initdb(self, use_migration_files: bool = False) -> None:
        """Create or update the tables."""
        upgrade_database(self._url)

    def upgradedb(
        self,
        to_revision: str | None = None,
        from_revision: str | None = None,
        show_sql_only: bool = False,
        use_migration_files: bool = False,
    ) -> None:
        """Update the tables.

        Raises:
            NotImplementedError: SQL was to be shown; our migrations run over a connection.
        """
        if show_sql_only:
            raise NotImplementedError("the review database's migrations cannot be shown as SQL")
        upgrade_database(self._url, to_revision or "head")

    def downgrade(self, to_revision: str, from_revision: str | None = None, show_sql_only: bool = False) -> None:
        """Take migrations back.

        Raises:
            NotImplementedError: SQL was to be shown; our migrations run over a connection.
        """
        if show_sql_only:
            raise NotImplementedError("the review database's migrations cannot be shown as SQL")
        downgrade_database(self._url, to_revision)

    def drop_tables(self, connection: Connection) -> None:
        """Keep the reviews."""

    def resetdb(self, skip_init: bool = False, use_migration_files: bool = False) -> None:
        """Keep the reviews, and bring their tables up to date."""
        if not skip_init:
            self.initdb()
