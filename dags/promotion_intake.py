"""Finds tagged model versions and starts their promotions: one DAG for each registry.

    wait_for_tags (deferrable sensor) -> accept -> start (one run per request)

Always one run waits per registry. Nothing is lost or doubled: a tag stays `requested` until it is answered, an
accepted request is started by its id, and a run that exists already is skipped.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG

from model_approval.operators.intake_sensor import AcceptRequestsOperator, TaggedVersionSensor
from model_approval.settings import Settings, load_settings

TRIAGE = """
Watches the registry `{registry}` for model versions tagged `promotion=requested`.

- *`wait_for_tags` is deferred*: nothing is tagged; that is the normal state.
- *`accept` is red*: registry, database or audit store cannot be reached; it is tried again by the next run.
- *`start` is red*: the promotion path's DAG is missing (policy removed or broken); see `policy_problems`.
"""


def intake_dag(registry: str, settings: Settings) -> DAG:
    """The detector of one registry."""
    with DAG(
        dag_id=f"promotion_intake__{registry}",
        dag_display_name=f"Find tagged model versions: {registry}",
        doc_md=TRIAGE.format(registry=registry),
        schedule="@continuous",
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        tags=["model-approval", "intake"],
        default_args={"owner": "model-approval", "retries": 5, "retry_delay": timedelta(seconds=10)},
    ) as dag:
        wait = TaggedVersionSensor(
            task_id="wait_for_tags",
            registry=registry,
            poll_s=settings.intake_poll_s,
            # An hour a run keeps the list of runs short; a run without a tag ends as skipped and the next one begins.
            timeout=3600,
            soft_fail=True,
        )
        accept = AcceptRequestsOperator(task_id="accept", registry=registry)
        start = TriggerDagRunOperator.partial(
            task_id="start",
            logical_date=None,
            skip_when_already_exists=True,
            map_index_template="{{ task.trigger_run_id }}",
        ).expand_kwargs(accept.output)
        wait >> accept >> start
    return dag


settings = load_settings()
for name in settings.registry_names:
    globals()[f"promotion_intake__{name}"] = intake_dag(name, settings)
