"""The app as Airflow's API server runs it: real services, Airflow's users, Airflow's secret."""

from __future__ import annotations

import hashlib

from airflow.configuration import conf
from fastapi import FastAPI

from model_approval.wiring import services
from model_review.app import create_app
from model_review.auth import FormTokens, no_step_up
from model_review.identity import airflow_identity
from model_review.room import Room
from model_review.wake import wake_review


def hosted_app() -> FastAPI:
    """Make the app. Opens no connection: services connect at their first use."""
    # Every API server shares this secret, so a form shown by one worker is accepted by the next.
    secret = hashlib.sha256(b"model-review-forms\0" + conf.get_mandatory_value("api", "secret_key").encode()).digest()
    room = Room(services=services, wake=wake_review, tokens=FormTokens(secret), step_up=no_step_up)
    return create_app(room, identity=airflow_identity)
