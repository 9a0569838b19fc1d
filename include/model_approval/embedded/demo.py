"""`make demo`: one good and three bad models the whole way, hands-free, over the HTTP API that people use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.errors import ModelApprovalError
from model_approval.embedded.audit_scene import audit_offline
from model_approval.embedded.interrupts import StopRequestedError, stop_requests
from model_approval.embedded.layout import StackOptions
from model_approval.embedded.report import Report
from model_approval.embedded.run import follow, print_guide, say_error
from model_approval.embedded.sample_models import SampleModel, sample_models
from model_approval.embedded.scenes import Scenes
from model_approval.embedded.seed import RegistrySeed
from model_approval.embedded.stack import REGISTRY_READY, Stack
from model_approval.embedded.steps import Progress, Step
from model_approval.embedded.watch import Watcher
from model_approval.ports import Services


@dataclass(frozen=True)
class DemoOptions:
    """How to show it."""

    state_dir: Path = Path(".state/demo")
    """Emptied first: a demonstration has no past."""
    keep: bool = False
    """Leave the stack running afterwards, until Ctrl-C."""


@dataclass
class _Cast:
    """The sample models once they are trained and registered."""

    models: Mapping[str, SampleModel]
    versions: Mapping[str, str]


def run_demo(options: DemoOptions) -> int:
    """Show it all.

    Returns:
        The exit code: 0 only when every line of the table is as it must be.
    """
    progress, report = Progress(), Report()
    ports_and_folder = StackOptions(options.state_dir, airflow_port=0, mlflow_port=0, store_port=0, fresh=True)
    try:
        with stop_requests(), Stack(ports_and_folder, progress) as stack:
            _perform(stack, report)
            report.print(progress.console)
            verdict = "every line is as it must be" if report.holds else "NOT every line is as it must be"
            progress.say(f"{verdict}; {progress.elapsed_s:.0f} s from start to end")
            if options.keep:
                print_guide(stack)
                follow(stack)
    except StopRequestedError:
        return 0 if report.holds else 130
    except ModelApprovalError as err:
        report.print(progress.console)
        say_error(progress, err)
        return 1
    return 0 if report.holds else 1


def _perform(stack: Stack, report: Report) -> None:
    cast = _Cast({}, {})
    stack.start(
        Step("sample models trained", lambda: _train(cast)),
        Step(
            "sample models registered and tagged",
            lambda: _register(stack, cast),
            ("sample models trained", *REGISTRY_READY),
        ),
    )
    stack.wait_for_dags({"promotion_intake__mlflow"})
    stack.progress.say("everything is up; nobody touches anything from here on")
    services = _services(stack)
    watcher = Watcher(stack.user("vera"), stack.progress, meanwhile=stack.tend)
    with RegistrySeed(stack.settings) as registry:
        scenes = Scenes(stack, services, registry, watcher, cast.models, cast.versions, report)
        scenes.good()
        scenes.swapped()
        scenes.bad("dangerous", "a pickle with a dangerous import", rule="security.no-high-findings")
        scenes.bad("slow", "a model too slow for its policy", rule="performance.latency-p99")
    audit_offline(services, stack.settings.trusted_keys, report)


def _train(cast: _Cast) -> None:
    cast.models = sample_models()


def _register(stack: Stack, cast: _Cast) -> None:
    """The good one first: it has the longest way. Tagged last, so that one look of the sensor finds all four."""
    with RegistrySeed(stack.settings) as seed:
        cast.versions = {kind: seed.register(model) for kind, model in cast.models.items()}
        for kind, model in cast.models.items():
            seed.request(model, cast.versions[kind])


def _services(stack: Stack) -> Services:
    """Our own services, to read what has no page: the target of a policy, the audit log."""
    from model_approval.wiring import make_services

    return make_services(stack.settings)
