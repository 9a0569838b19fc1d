"""`make run`: the stack with its sample promotion, followed until Ctrl-C."""

from __future__ import annotations

import json
import time

from rich.table import Table

from model_approval.domain.errors import ModelApprovalError, OutsideSystemError
from model_approval.embedded.interrupts import StopRequestedError, stop_requests
from model_approval.embedded.layout import StackOptions
from model_approval.embedded.people import PEOPLE
from model_approval.embedded.seed import RegistrySeed
from model_approval.embedded.stack import REGISTRY_READY, Stack
from model_approval.embedded.steps import Progress, Step
from model_approval.embedded.watch import Watcher

PAGE = "/plugin/model-reviews"
"""The review room inside Airflow's frame."""


def run_stack(options: StackOptions) -> int:
    """Start, submit the sample promotion, say where to click, follow until somebody stops us.

    Returns:
        The exit code: 0 when it was stopped on purpose, 1 when it could not start or go on.
    """
    progress = Progress()
    try:
        with stop_requests(), Stack(options, progress) as stack:
            sample = [Step("sample promotion", lambda: submit_sample(stack), REGISTRY_READY)] if options.sample else []
            stack.start(*sample)
            stack.wait_for_dags({"promotion_intake__mlflow"})
            print_guide(stack)
            follow(stack)
    except StopRequestedError:
        return 0
    except ModelApprovalError as err:
        say_error(progress, err)
        return 1
    return 0


def submit_sample(stack: Stack) -> None:
    """Register and tag the good sample model, once per state folder."""
    if stack.layout.sample_id.exists():
        return
    from model_approval.embedded.sample_models import sample_models

    model = sample_models()["good"]
    with RegistrySeed(stack.settings) as seed:
        version = seed.register(model)
        seed.request(model, version)
    stack.layout.sample_id.write_text(json.dumps({"model": model.name, "version": version}))


def follow(stack: Stack) -> None:
    """Say what changes and start again what dies, until interrupted."""
    watcher = Watcher(stack.user("vera"), stack.progress, meanwhile=stack.tend)
    said = ""
    while True:
        try:
            watcher.look()
            said = ""
        except OutsideSystemError as err:  # a part is being started again; what matters is whether it comes back
            stack.tend()
            if err.message != said:
                said = err.message
                stack.progress.say(f"the review page does not answer: {said}", style="yellow")
        time.sleep(1.0)


def print_guide(stack: Stack) -> None:
    """Where to click, and as whom."""
    console = stack.progress.console
    table = Table(title="Sign in as", title_justify="left")
    for column in ("name", "password", "who"):
        table.add_column(column)
    for person in PEOPLE:
        table.add_row(person.name, stack.passwords[person.name], person.does)
    console.print(table)
    for what, where in (
        ("Model reviews", f"{stack.airflow_url}{PAGE}"),
        ("Airflow", stack.airflow_url),
        ("MLflow", stack.mlflow_url),
        ("Command line", f"source {stack.layout.shell}; .venv/bin/model-approval queue"),
        ("Logs", str(stack.layout.logs)),
    ):
        console.print(f"{what:14}", where, markup=False, soft_wrap=True)
    console.print(
        "\nApprove fraud-scorer as ana, then as bo: it goes into service. Ctrl-C stops everything.\n", markup=False
    )


def say_error(progress: Progress, err: ModelApprovalError) -> None:
    """What went wrong and what to do, in words."""
    progress.say(f"error: {err.message}", style="red")
    if err.hint:
        progress.say(f"what to do: {err.hint}")
