"""A request with all that evidence can hold: folded and accepted findings, ratios, facts, attachments, Data Docs."""

from __future__ import annotations

from datetime import date

from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.evidence import (
    Attachment,
    Evidence,
    Finding,
    Metric,
    Ratio,
    Severity,
    TableResult,
    TableResults,
)
from model_approval.policy.schema import FrozenPolicy
from tests.plugin.rooms import ReviewRoom, a_room
from tests.support.builders import (
    a_benchmark_check,
    a_candidate,
    a_champion,
    a_frozen_policy,
    a_policy,
    a_request,
    a_security_check,
    an_evidence,
)

PAGE = b"<!doctype html><script>alert('data docs')</script>"
"""Stands for what Great Expectations renders."""
TABLE_RULE = "tables.latencies"

EVIL = Finding(
    rule="pickle.dangerous-import",
    severity=Severity.CRITICAL,
    file="weights.pt",
    inner="archive/data.pkl",
    offset=412,
    subject="os.system",
    message="loading calls os.system",
    advice="ask for the weights as safetensors",
    engines=("picklescan", "modelaudit"),
)
ACCEPTED = Finding(
    rule="dependency.unpinned",
    severity=Severity.MEDIUM,
    file="requirements.txt",
    line=3,
    subject="numpy",
    message="numpy is declared without an exact version",
    advice="pin it",
)
EXPIRED = Finding(
    rule="config.remote",
    severity=Severity.LOW,
    file="config.json",
    subject="http://models.example",
    message="a configuration names http://models.example",
)
MANY = tuple(
    Finding(
        rule="keras.custom-object",
        severity=Severity.MEDIUM,
        file=f"layers-{number % 2}.keras",
        offset=number,
        subject=f"Custom{number}",
        message=f"an unknown class Custom{number}",
        advice="ask for its code",
    )
    for number in range(200)
)
SCAN_FACTS = {
    "python": "3.12.12",
    "kernel": "6.12.0",
    "picklescan": "1.0.0",
    "modelaudit": "0.2.54",
    "allowed_globals": "2026-11-20",
    "vulnerability_database": "OSV PyPI of 2026-05-29, 18123 advisories",
    "signature": "verified: key sha256:9f2c; 3 of 3 files",
    "licence": "Apache-2.0",
    "confinement.limits": "in force: data=536870912 nproc=1",
    "confinement.landlock": "missing: Landlock is not supported by this kernel",
    "confinement.seccomp": "in force: no sockets, no exec",
}
BENCH_FACTS = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "gpu_driver": "570.86.10",
    "gpu_cuda_driver": "12.8",
    "cpu": "AMD EPYC 9654",
    "cpus": "16",
    "runtime": "onnxruntime 1.23 CUDAExecutionProvider",
    "warm_up.candidate": "settled after 80 queries, p50 1.9 ms",
    "warm_up.champion": "not settled after 900 queries, p50 1.8 ms",
    "loadgen": "SingleStream: VALID; Offline: INVALID",
    "noise_floor": "champion against itself: p50 ratio 1.0006 (0.9990 to 1.0021)",
    "model_process.confinement.seccomp": "in force: no sockets",
    "confinement.seccomp": "in force: no exec",
}
METRICS = (
    Metric(name="latency_p50", value=1.94, unit="ms", low=1.9, high=1.98, baseline=1.9, samples=12_000,
           ratio=Ratio(value=1.02, low=0.99, high=1.04, noise=0.006)),
    Metric(name="latency_p99", value=4.4, unit="ms", samples=12_000),
    Metric(name="throughput", value=3120.0, unit="requests/s", low=3000.0, high=3200.0, baseline=3300.0,
           ratio=Ratio(value=0.945, low=0.93, high=0.96, noise=0.02)),
    Metric(name="peak_memory", value=812.5, unit="MiB", baseline=790.0),
    Metric(name="gpu_memory_peak", value=2210.0, unit="MiB"),
    Metric(name="accuracy", value=0.931, unit="fraction", low=0.92, high=0.94, baseline=0.93, samples=2000),
    Metric(name="batch_16_throughput", value=20_100.0, unit="samples/s"),
    Metric(name="latency_p99.9", value=6.2, unit="ms", high=7.1),
)  # fmt: skip
ATTACHMENTS = (
    Attachment(name="latencies.csv", media_type="text/csv", text="stream,block,ms\ncandidate,0,1.9\n"),
    Attachment(name="notes.html", media_type="text/html", text="<script>alert('attachment')</script>"),
)


def rich_policy() -> FrozenPolicy:
    """Two findings accepted, one of them no longer; relative limits; expectations over a table."""
    accepted = [
        {
            "fingerprint": finding.fingerprint,
            "reason": reason,
            "owner": "ana",
            "expires": expires,
            "justification": "inline_mitigations_already_exist",
        }
        for finding, reason, expires in (
            (ACCEPTED, "the serving image pins it", date(2026, 12, 31)),
            (EXPIRED, "never fetched behind our proxy", date(2026, 5, 31)),
        )
    ]
    relative = (
        {"metric": "latency_p50", "unit": "ms", "max_ratio_to_champion": 1.05},
        {"metric": "throughput", "unit": "requests/s", "min_ratio_to_champion": 0.95},
        {"metric": "peak_memory", "unit": "MiB", "maximum": 1024, "max_ratio_to_champion": 1.1},
    )
    suite = [{"type": "expect_column_median_to_be_between", "kwargs": {"column": "ms", "max_value": 20}}]
    rules = (
        *a_benchmark_check()["rules"],  # type: ignore[misc]  # a builder's dict of objects
        *(
            {"id": f"performance.{limit['metric'].replace('_', '-')}", "title": str(limit["metric"]), "limit": limit}  # type: ignore[attr-defined]
            for limit in relative
        ),
        {"id": TABLE_RULE, "title": "Latencies", "expectations": {"table": "latencies.csv", "suite": suite}},
    )
    scan = a_security_check(accepted_findings=accepted)
    return a_frozen_policy(policy=a_policy(checks=(scan, a_benchmark_check(rules=rules))))


def rich_scan(**changes: object) -> Evidence:
    """A scan that found much."""
    whole = an_evidence("security_scan")
    gap = {"path": "odd.bin", "covered": False, "format": "unknown", "note": "no scanner knows this format"}
    fields = {
        "findings": (*MANY, EXPIRED, ACCEPTED, EVIL),
        "coverage": (*whole.coverage, gap),
        "environment": SCAN_FACTS,
        "attachments": (
            Attachment(
                name="sbom.cdx.json", media_type="application/vnd.cyclonedx+json", text='{"bomFormat":"CycloneDX"}'
            ),
        ),
    }
    return an_evidence("security_scan", **{**fields, **changes})


def rich_benchmark(**changes: object) -> Evidence:
    """A benchmark on a GPU, against a champion."""
    fields = {"metrics": METRICS, "environment": BENCH_FACTS, "attachments": ATTACHMENTS, "device": "cuda"}
    return an_evidence("gpu_benchmark", **{**fields, **changes})


def rich_room(*, scan: Evidence | None = None, bench: Evidence | None = None) -> tuple[ReviewRoom, str]:
    """A room with one such request in review, against a champion; returns it with the request's id."""
    room = a_room(frozen=rich_policy())
    request = a_request(policy=room.catalog.frozen)
    bench = (bench or rich_benchmark()).model_copy(update={"request_id": request.id})
    name = f"data-docs/gpu_benchmark-1-{TABLE_RULE}-{sha256_of(PAGE)[7:19]}.html"
    room.tables = TableResults(
        evidence_digest=sha256_of(canonical_json(bench)),
        library="great_expectations",
        results=(TableResult(rule=TABLE_RULE, table="latencies.csv", rows=1, data_docs=name),),
    )
    room.evidence.put_document(request.id, name, PAGE, content_type="text/html")
    room.evidence.put_document(
        request.id, "expectations/gpu_benchmark-1.json", canonical_json(room.tables), content_type="application/json"
    )
    candidate = a_candidate(request, champion=a_champion())
    return room, room.in_review(scan or rich_scan(), bench, candidate=candidate)
