"""Four model versions to try the system with, made at run time: one good, three that must not pass.

    good        a small fraud scorer, trained here, exported to ONNX, with every document its policy asks for
    dangerous   the same, plus a preprocessing pickle that would run a command; made of bytes by hand, never loaded
    slow        the same promise, kept by a graph of many thousand steps that wait for each other
    swapped     a second good one, whose bytes somebody changes after it was approved

Everything but the weights' last digits is the same at each run: the data are drawn with a fixed seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from model_approval.embedded.sample_documents import evaluation_report, model_card, risk_assessment
from model_approval.embedded.sample_training import FEATURES, INPUT, Trained, slow_graph, train

OWNER = "rita"
"""Who trains and registers them, so she may ask and may not vote."""
_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_DOCUMENTS = {
    "model_card": "docs/model_card.md",
    "risk_assessment": "docs/risk_assessment.md",
    "evaluation_report": "docs/evaluation_report.md",
}
DANGEROUS_FILE = "preprocessing.pkl"


@dataclass(frozen=True)
class SampleModel:
    """A model version before it is registered."""

    name: str
    files: dict[str, bytes]
    """Path in the artifact -> bytes."""
    metrics: dict[str, float]
    """What the source run logs."""
    payload: dict[str, object]
    """The metadata that comes with the tag."""

    @property
    def payload_json(self) -> str:
        """The payload as the tag holds it."""
        return json.dumps(self.payload, sort_keys=True)


def sample_models() -> dict[str, SampleModel]:
    """Train once and build all four, by kind. Takes about five seconds, most of it imports."""
    trained = train(seed=20_261)
    good = _model("fraud-scorer", trained, reason="First trained scorer, to run beside the rules of 2025")
    slow = _model("fraud-scorer-deep", trained, reason="More layers should find more fraud")
    dangerous = _model("fraud-scorer-imported", trained, reason="Taken over from the vendor with its preprocessing")
    swapped = _model("fraud-scorer-refit", trained, reason="Refit on last month's transactions")
    # In this order they are requested; the slow one last, since benchmarks take turns.
    return {
        "good": good,
        "swapped": swapped,
        "dangerous": replace(dangerous, files={**dangerous.files, DANGEROUS_FILE: dangerous_pickle()}),
        "slow": replace(slow, files={**slow.files, "model.onnx": slow_graph(len(FEATURES))}),
    }


def swapped_bytes(model: SampleModel) -> bytes:
    """Other bytes for `model.onnx`, of the same length: one bit of it, as somebody would choose with care."""
    changed = bytearray(model.files["model.onnx"])
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def dangerous_pickle() -> bytes:
    """A pickle that would call `posix.system` if anybody loaded it. Written byte by byte: protocol 0, then STOP.

    The command that it names does nothing, so that even a mistake of ours would harm nobody.
    """
    return b"cposix\nsystem\n(S'true'\ntR."


def _model(name: str, trained: Trained, *, reason: str) -> SampleModel:
    files = {
        "model.onnx": trained.onnx,
        "input_schema.json": _json(
            {"columns": [{"name": name, "type": kind, "personal": False} for name, kind in FEATURES.items()]}
        ),
        "evaluation_sample.csv": trained.sample_csv,
        "serving.yaml": _serving(),
        "smoke_input.json": _json({"inputs": {INPUT: [list(trained.example)]}}),
        _DOCUMENTS["model_card"]: model_card(name, trained.metrics).encode(),
        _DOCUMENTS["risk_assessment"]: risk_assessment(name).encode(),
        _DOCUMENTS["evaluation_report"]: evaluation_report(name, trained.metrics).encode(),
    }
    payload: dict[str, object] = {
        "environment": "production",
        "reason": reason,
        "requester": OWNER,
        "semantic_version": "1.0.0",
        "risk_tier": "high",
        "documents": _DOCUMENTS,
        "classification": "internal",
        "licence": "Apache-2.0",
    }
    return SampleModel(name, files, trained.metrics, payload)


def _serving() -> bytes:
    lines = [f'  {name}: "{value}"' for name, value in _HEADERS.items()]
    return "\n".join(["# What the live endpoint promises.", "authentication: bearer", "headers:", *lines, ""]).encode()


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
