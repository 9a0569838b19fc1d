"""Trains the sample fraud scorer and builds the slow graph. Its libraries are imported when called."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEATURES = {
    "amount_eur": "float",
    "hour_of_day": "integer",
    "card_age_days": "integer",
    "transactions_24h": "integer",
    "merchant_risk": "float",
    "country_mismatch": "integer",
    "minutes_since_last": "float",
    "new_device": "integer",
}
"""Name -> type, in the order of the model's input."""
INPUT = "features"
"""Name of the model's one input, a row of features for each transaction."""
_TRAIN, _TEST, _SAMPLE = 6_000, 2_000, 400
SLOW_STEPS = 240_000
"""Iterations of the slow graph, each waiting for the one before. onnxruntime takes 0.7 us for one (measured, 2 cores of
2026), so a request takes 180 ms; no number of cores makes the chain shorter."""


@dataclass(frozen=True)
class Trained:
    """A trained model with what its documents say about it."""

    onnx: bytes
    metrics: dict[str, float]
    sample_csv: bytes
    example: tuple[float, ...]
    """One input that the model must answer."""


def train(*, seed: int) -> Trained:
    """Draw transactions, fit a gradient-boosted classifier, measure it on transactions it has not seen, export it.

    Args:
        seed: Of the data and the fit.
    """
    import numpy as np
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.metrics import average_precision_score, roc_auc_score

    random = np.random.default_rng(seed)
    inputs, fraud = _transactions(random, _TRAIN + _TEST + _SAMPLE)
    model = GradientBoostingClassifier(n_estimators=60, max_depth=3, random_state=seed).fit(
        inputs[:_TRAIN], fraud[:_TRAIN]
    )
    test = slice(_TRAIN, _TRAIN + _TEST)
    scores = model.predict_proba(inputs[test])[:, 1]
    metrics = {
        "roc_auc": float(roc_auc_score(fraud[test], scores)),
        "average_precision": float(average_precision_score(fraud[test], scores)),
        "recall_at_5_percent": _recall(fraud[test], scores, alarms=_TEST // 20),
    }
    # Plain tensors instead of a list of dictionaries: what serving stacks and the benchmark expect.
    inputs_named = [(INPUT, FloatTensorType([None, len(FEATURES)]))]
    exported = to_onnx(model, initial_types=inputs_named, options={"zipmap": False}, target_opset=17)
    sample = inputs[-_SAMPLE:]
    return Trained(
        onnx=exported.SerializeToString(),
        metrics=metrics,
        sample_csv=_csv(sample),
        example=tuple(round(float(value), 4) for value in sample[0]),
    )


def slow_graph(width: int) -> bytes:
    """A graph with the scorer's interface that takes `SLOW_STEPS` steps, one after the other, for each request."""
    from onnx import TensorProto, checker, helper

    body = helper.make_graph(
        [
            helper.make_node("Mul", ["state", "decay"], ["next_state"]),
            helper.make_node("Identity", ["go_on"], ["still_on"]),
        ],
        "one_layer",
        [
            helper.make_tensor_value_info("layer", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [None, width]),
        ],
        [
            helper.make_tensor_value_info("still_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [None, width]),
        ],
        [helper.make_tensor("decay", TensorProto.FLOAT, [1], [0.99999])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["layers", "", INPUT], ["deep"], body=body),
            helper.make_node("ReduceMean", ["deep"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Sigmoid", ["mean"], ["probabilities"]),
        ],
        "fraud_scorer_deep",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("layers", TensorProto.INT64, [], [SLOW_STEPS])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _transactions(random: np.random.Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Transactions and whether each was fraud: more often when large, at night, far away, on a new device."""
    import numpy as np

    columns = np.column_stack(
        [
            random.lognormal(3.5, 1.1, count),
            random.integers(0, 24, count),
            random.integers(1, 3_650, count),
            random.poisson(3.0, count),
            random.beta(2.0, 8.0, count),
            random.random(count) < 0.08,
            random.exponential(240.0, count),
            random.random(count) < 0.12,
        ]
    ).astype(np.float32)
    night = (columns[:, 1] < 6).astype(np.float32)
    logit = (
        -16.0
        + 1.2 * np.log1p(columns[:, 0])
        + 2.4 * night
        + 13.0 * columns[:, 4]
        + 4.0 * columns[:, 5]
        + 3.3 * columns[:, 7]
        + 0.33 * columns[:, 3]
    )
    fraud = (random.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    return columns, fraud


def _recall(fraud: NDArray[np.int64], scores: NDArray[np.float64], *, alarms: int) -> float:
    """Share of all fraud among the `alarms` highest scores."""
    import numpy as np

    highest = np.argsort(scores)[-alarms:]
    return float(fraud[highest].sum() / fraud.sum())


def _csv(rows: NDArray[np.float32]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FEATURES)
    for row in rows:
        writer.writerow(
            int(value) if kind == "integer" else round(float(value), 4)
            for value, kind in zip(row, FEATURES.values(), strict=True)
        )
    return text.getvalue().encode()
