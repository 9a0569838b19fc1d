"""Takes a deployed model version out of service, from the Airflow UI: the version before it serves again."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from model_approval.operators.steps import RollBackOperator

with DAG(
    dag_id="promotion_roll_back",
    dag_display_name="Take a model version out of service",
    doc_md="Trigger with the promotion request's id and a reason. *Revoke* withdraws the approval as well.",
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    tags=["model-approval", "operations"],
    params={
        "request_id": Param(type="string", minLength=4, description="Id of the promotion to take out of service"),
        "reason": Param(type="string", minLength=3, description="Why; it goes into the audit log"),
        "revoke": Param(False, type="boolean", description="Withdraw the approval too, so that it cannot come back"),
    },
    default_args={"owner": "model-approval", "retries": 3, "retry_delay": timedelta(seconds=5)},
) as roll_back:
    RollBackOperator(
        task_id="roll_back",
        request_id="{{ params.request_id }}",
        reason="{{ params.reason }}",
        revoke="{{ params.revoke }}",
    )
