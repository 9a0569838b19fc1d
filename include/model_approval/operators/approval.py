"""The approval task: deferrable, waits for the committee without holding a worker slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.operators.review_trigger import WAITING, ReviewTrigger
from model_approval.operators.steps import StepOperator, call_stage, request_id_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_approval.ports import Services


class ModelApprovalOperator(StepOperator):
    """Waits on the review plugin's decision and goes on only when the *signed* decision says approved.

    The deadline is the policy's (`response_timeout_h`) and ends as `expired`, never as approved. A wake-up is a
    hint: whatever it says, the task reads the state again. Marking this task successful in Airflow approves nothing,
    since the deployment verifies the signature itself. Nothing is cancelled in `on_kill`: a killed triggerer or a
    cleared task must not lose a review.
    """

    go_on_in = frozenset({PromotionState.APPROVED, PromotionState.DEPLOYING, PromotionState.DEPLOYED})

    def run_stage(self, services: Services, request_id: str) -> Promotion:
        """See `stages.review.conclude`."""
        from model_approval.stages.review import conclude

        return conclude(services, request_id=request_id)

    def execute(self, context: Context) -> str:
        """Decide what can be decided; otherwise wait."""
        promotion = call_stage(self.run_stage, request_id_of(context))
        if promotion.state in WAITING:
            self._wait(promotion)
        return self.settle(context, promotion)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> str:
        """Woken: by the plugin, the poller or the deadline. The event is not believed, only heard."""
        self.log.info("woken by %s", (event or {}).get("why", "the review page"))
        return self.execute(context)

    def _wait(self, promotion: Promotion) -> NoReturn:
        deadline = promotion.review_deadline.isoformat() if promotion.review_deadline else None
        self.log.info("promotion %s waits for its review until %s", promotion.id, deadline)
        self.defer(trigger=ReviewTrigger(request_id=promotion.id, deadline=deadline), method_name="resume")
        raise AssertionError("defer raises")  # tells the type checker; BaseOperator.defer is not typed NoReturn
