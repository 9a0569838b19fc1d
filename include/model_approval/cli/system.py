"""`run`, `demo`, `init`, `db upgrade`: bring an installation to life."""

from __future__ import annotations

import typer

from model_approval.settings import load_settings

database = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Put these commands at the top level."""
    app.command("init")(init)


def init() -> None:
    """Make what is missing: signing key, review database, buckets with Object Lock. Safe to repeat."""
    from model_approval.wiring import initialise

    for line in initialise(load_settings()):
        typer.echo(line)


@database.command("upgrade")
def upgrade() -> None:
    """Bring the review database to this version's schema."""
    from model_approval.wiring import upgrade_reviews

    typer.echo(upgrade_reviews(load_settings()))
