"""Registers the review room with Airflow. Airflow imports this in every process, tasks included: keep it thin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/model-review"


class _LazyApps(list[dict[str, Any]]):
    """Builds the app when the API server asks for it; no other process ever iterates."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not len(self):
            from model_review.hosted import hosted_app

            self.append({"app": hosted_app(), "url_prefix": PREFIX, "name": "Model reviews"})
        return super().__iter__()


class ModelReviewPlugin(AirflowPlugin):
    """Pages and API for the people who decide on promotions."""

    name = "model_review"
    fastapi_apps = _LazyApps()
    # Relative addresses: resolved against Airflow's own base URL, so a path prefix in front of it keeps working.
    external_views = [
        {
            "name": "Reviews",  # a longer name is cut off in the narrow navigation
            "href": "model-review/",
            "destination": "nav",
            "url_route": "model-reviews",
            "nav_top_level": True,
            "icon": "model-review/static/nav-light.svg",
            "icon_dark_mode": "model-review/static/nav-dark.svg",
        },
        {
            "name": "Model review",
            "href": "model-review/run?run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "model-review",
        },
    ]
