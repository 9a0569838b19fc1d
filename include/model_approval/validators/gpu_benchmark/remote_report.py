"""What a report says when a server behind a URL was measured: which figures it cannot have, and what they prove."""

from __future__ import annotations

from model_approval.domain.evidence import Device
from model_approval.validators.contract import Report, Task
from model_approval.validators.gpu_benchmark.extras import Ground, extras
from model_approval.validators.gpu_benchmark.machine import fingerprint
from model_approval.validators.gpu_benchmark.remote import RemoteServer, provenance, told_digest

_OF_A_PROCESS = ("peak_memory", "load_time")


def as_remote(report: Report, server: RemoteServer, task: Task) -> Report:
    """The report without what can only be known of a process of ours, and with what the URL's figures prove."""
    wanted = server.wanted
    whose = "as the policy says" if wanted.device is not Device.NONE else "as the server says of itself"
    told = {
        "endpoint": f"{wanted.url}, model {wanted.model}, protocol {wanted.protocol}",
        "latency": "from the first byte of a request to the last of its answer, through the relay and the network",
        "device": f"{report.device} ({whose})" if report.device is not Device.NONE else "unknown",
        **server.confinement,
    }
    reasons = [*provenance(wanted, told_digest(server), task.input.artifact_digest), *_unknown_device(report)]
    return report.model_copy(
        update={
            "metrics": tuple(metric for metric in report.metrics if metric.name not in _OF_A_PROCESS),
            "coverage": (),
            "environment": {**report.environment, **told},
            "limitations": (*report.limitations, *reasons),
        }
    )


def _unknown_device(report: Report) -> tuple[str, ...]:
    if report.device is not Device.NONE:
        return ()
    return ("nobody says what the server runs on: set `endpoint.device` of the check's parameters",)


def stream_report(ground: Ground, server: RemoteServer) -> Report:
    """All there is to say of a server that only streams text."""
    device = server.wanted.device
    if device is Device.CPU and not ground.task.input.allow_cpu:
        only = "the server runs on a CPU, as the policy itself says, and the policy does not allow that (allow_cpu)"
        return as_remote(Report(device=device, limitations=(only,)), server, ground.task)
    report = Report(device=device, environment=fingerprint())
    return as_remote(extras(ground).added_to(report), server, ground.task)
