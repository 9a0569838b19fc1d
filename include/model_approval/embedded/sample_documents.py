"""The documents that come with the sample models. Short, but with what a reviewer needs."""

from __future__ import annotations

from collections.abc import Mapping


def model_card(name: str, metrics: Mapping[str, float]) -> str:
    """What the model is, for whom, and where it must not be used."""
    return f"""# Model card: {name}

**Purpose.** Scores card transactions for fraud, 0 (harmless) to 1. Transactions above the bank's limit go to a person.

**Not for** credit decisions, or blocking a card without a person looking at it.

**Model.** Gradient-boosted trees (60 trees, depth 3) over eight figures of one transaction; none describes
a person.

**Data.** 8,400 drawn transactions of this demonstration, not of real customers: 6,000 to train, 2,000 to
test, 400 as sample.

**Quality on the test transactions.**
ROC AUC {metrics["roc_auc"]:.3f}, average precision {metrics["average_precision"]:.3f}.

**Limits.** New kinds of fraud are not in the data; quality falls within months and must be measured again.
"""


def risk_assessment(name: str) -> str:
    """What can go wrong, how bad it is, what is done against it."""
    return f"""# Risk assessment: {name}

| risk | how bad | what is done |
|---|---|---|
| fraud is missed | money lost, customers harmed | rules of 2025 stay in force beside the model |
| honest customers are stopped | trust lost | a person decides; the customer is called within an hour |
| groups are treated differently | unlawful, unfair | no personal figures in the input; rates watched monthly |
| the model is replaced by another | anything | bytes pinned by digest, checked before and after deployment |

**Tier.** High: decisions touch customers' money. Two roles must approve.
"""


def evaluation_report(name: str, metrics: Mapping[str, float]) -> str:
    """How it was measured, and what came out."""
    return f"""# Evaluation report: {name}

2,000 transactions that were not used for training, drawn from the same source; one run, fixed seed.

| figure | value |
|---|---|
| ROC AUC | {metrics["roc_auc"]:.4f} |
| average precision | {metrics["average_precision"]:.4f} |
| share of all fraud in the 5 % highest scores | {metrics["recall_at_5_percent"]:.4f} |

**Not measured:** drift over time, other countries, attempts to evade the model.
"""
