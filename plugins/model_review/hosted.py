"""The app as Airflow's API server runs it: real services, Airflow's users, Airflow's secret."""

from __future__ import annotations

import hashlib

from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from fastapi import FastAPI, Request

from model_approval.wiring import services
from model_review.app import create_app
from model_review.auth import SESSION, TOKEN, FormTokens, Identity, no_step_up
from model_review.identity import describe
from model_review.room import Room
from model_review.wake import wake_review


def hosted_app() -> FastAPI:
    """Make the app. Opens no connection: services connect at their first use."""
    # Every API server shares this secret, so a form shown by one worker is accepted by the next.
    secret = hashlib.sha256(b"model-review-forms\0" + conf.get_mandatory_value("api", "secret_key").encode()).digest()
    room = Room(services=services, wake=wake_review, tokens=FormTokens(secret), step_up=no_step_up)
    return create_app(room, identity=airflow_identity)


def airflow_identity(request: Request, user: GetUserDep) -> Identity:
    """The signed-in user, by session cookie or bearer token; Airflow's dependency refuses everybody else."""
    # The same test as Airflow's `get_user`: an explicit credential wins over the cookie.
    bearer = request.headers.get("authorization", "").lower().startswith("bearer ")
    return describe(user, authentication=TOKEN if bearer else SESSION)
