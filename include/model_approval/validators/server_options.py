"""How a model is served: what is known before the process is confined, and imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from model_approval.domain.deployment import ServingConfig

AT_ONCE = 4
"""Requests that run the model at the same time; others wait their turn."""


@dataclass(frozen=True)
class Identity:
    """Under which names a model is served."""

    name: str = "model"
    version: str = "1"
    artifact_digest: str | None = None
    """None: nobody said which bytes are expected, so none were hashed."""


@dataclass(frozen=True)
class Options:
    """How a model is served."""

    serving: ServingConfig
    max_body_bytes: int
    token: str | None = None
    at_once: int = AT_ONCE
    finite_inputs: bool = True
    """Refuse NaN and infinity in binary inputs; JSON cannot carry them anyway."""
