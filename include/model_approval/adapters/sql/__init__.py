"""The review database: SQLAlchemy models, engines, migrations, and the `ReviewStore` over them. SQLite or Postgres."""
