"""One DAG for each promotion path: every policy file becomes `promote__<policy>`; each promotion is one run of it.

    intake -> checks (one pod each) -> evaluate -> review -> deploy -> record

The run's id is the promotion request's id, so a request can never run twice. A policy file that does not parse
takes down only itself; the review page, `model-approval policy check` and the DAG `policy_problems` say why.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, BaseOperator

from model_approval.domain.deployment import Runtime
from model_approval.operators.approval import ModelApprovalOperator
from model_approval.operators.local_validator import LocalValidatorOperator
from model_approval.operators.policy_problems import policy_problems_dag
from model_approval.operators.steps import DeployOperator, EvaluateOperator, IntakeOperator, RecordOperator
from model_approval.operators.validator_pod import ValidatorPodOperator
from model_approval.policy.catalog import FileCatalog
from model_approval.policy.schema import Check, FrozenPolicy
from model_approval.settings import load_settings

TRIAGE = """
**{title}** (policy `{name}`, owner {owner}). One run is one promotion; its id is the request's id.

- *A check is red*: its log and the review page say why in words. Mend the cause, clear the task **with downstream**.
- *`review` is deferred*: it waits for the committee on the page *Model reviews*. Marking it successful here approves
  nothing: `deploy` verifies the signed decision itself.
- *`deploy` is red*: a system could not be reached. Clear it; it resumes and never deploys twice.
- *`record` is red*: a task before it did not finish; see there.
"""


def promotion_dag(frozen: FrozenPolicy) -> DAG:
    """The path of one policy."""
    policy = frozen.policy
    with DAG(
        dag_id=policy.dag_id,
        dag_display_name=f"Promote: {policy.title}",
        description=f"{', '.join(policy.match.models)} to {policy.match.environment}",
        doc_md=TRIAGE.format(title=policy.title, name=policy.name, owner=policy.owner),
        schedule=None,
        catchup=False,
        # Parked reviews are running runs: a low limit would let open reviews keep new requests out.
        max_active_runs=1000,
        is_paused_upon_creation=False,
        tags=["model-approval", policy.match.environment],
        default_args={"owner": policy.owner, "retries": 3, "retry_delay": timedelta(seconds=5)},
    ) as dag:
        intake = IntakeOperator(task_id="intake")
        checks = [check_task(check, frozen) for check in policy.checks]
        evaluate = EvaluateOperator(task_id="evaluate", trigger_rule="all_done")
        review = ModelApprovalOperator(task_id="review")
        deploy = DeployOperator(task_id="deploy")
        record = RecordOperator(task_id="record", trigger_rule="all_done")

        intake >> checks >> evaluate >> review >> deploy >> record
    return dag


def check_task(check: Check, frozen: FrozenPolicy) -> BaseOperator:
    """One validator run, where the policy's target runs validators."""
    pool = settings.gpu_pool if check.validator == "gpu_benchmark" else "default_pool"
    if frozen.target.runtime is Runtime.LOCAL:
        return LocalValidatorOperator(task_id=check.name, check=check, retries=0, pool=pool)
    return ValidatorPodOperator(task_id=check.name, check=check, target=frozen.target, retries=0, pool=pool)


settings = load_settings()
catalog = FileCatalog(settings.config_dir)
for frozen_policy in catalog.all():
    globals()[frozen_policy.policy.dag_id] = promotion_dag(frozen_policy)
if catalog.problems():
    globals()["policy_problems"] = policy_problems_dag(catalog.problems())
