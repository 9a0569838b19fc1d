"""`run`, `demo`, `init`, `db upgrade`: bring an installation to life."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_approval.settings import load_settings

database = typer.Typer(no_args_is_help=True)

StateOption = Annotated[Path, typer.Option("--state-dir", help="Folder of this installation.")]


def register(app: typer.Typer) -> None:
    """Put these commands at the top level."""
    app.command("run")(run)
    app.command("demo")(demo)
    app.command("init")(init)


def run(
    state_dir: StateOption = Path(".state"),
    airflow_port: Annotated[int, typer.Option(envvar="AIRFLOW_PORT", help="Airflow and the review pages.")] = 8080,
    mlflow_port: Annotated[int, typer.Option(envvar="MLFLOW_PORT", help="The model registry.")] = 5000,
    store_port: Annotated[int, typer.Option(envvar="STORE_PORT", help="The object store (S3).")] = 8333,
    sample: Annotated[bool, typer.Option(help="Submit the sample promotion.")] = True,
) -> None:
    """Start everything on this machine, submit a sample promotion, say where to click. Ctrl-C stops it."""
    from model_approval.embedded.layout import StackOptions
    from model_approval.embedded.run import run_stack

    options = StackOptions(
        state_dir=state_dir, airflow_port=airflow_port, mlflow_port=mlflow_port, store_port=store_port, sample=sample
    )
    raise typer.Exit(run_stack(options))


def demo(
    state_dir: StateOption = Path(".state/demo"),
    keep: Annotated[bool, typer.Option(help="Leave everything running afterwards, until Ctrl-C.")] = False,
) -> None:
    """Promote one good model the whole way and show three that must not pass. Exit code 0: all as it must be."""
    from model_approval.embedded.demo import DemoOptions, run_demo

    raise typer.Exit(run_demo(DemoOptions(state_dir=state_dir, keep=keep)))


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
