"""Alembic's entry: runs our migrations over the connection that `adapters.sql.migrations` hands in.

There is no `alembic.ini` and no offline mode. For a new revision: `adapters.sql.migrations.new_revision`.
"""

from alembic import context

from model_approval.adapters.sql.models import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    # SQLite cannot alter most things in place: Alembic copies the table.
    render_as_batch=True,
    compare_type=True,
    # The database may be shared with Airflow: its tables are none of our business.
    include_object=lambda _item, name, kind, *_: kind != "table" or str(name).startswith("mrm_"),
)
context.run_migrations()
