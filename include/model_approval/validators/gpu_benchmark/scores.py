"""Measures of quality over a labelled holdout. Pure: arrays in, one number out, NaN where it has no meaning.

labels     int array [n]: the expected class
predicted  int array [n]: the answered class
scores     float array [n, k]: one column a class
values     float array [n, ...]: numbers expected or answered
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALLEST = 2.0**-52
"""A probability of nought is taken for this (float64's epsilon, as scikit-learn does): the loss would be infinite."""


def f1_macro(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Mean of the F1 of each class that occurs among labels or answers; a class never right counts as 0."""
    import numpy as np

    size = int(max(labels.max(), predicted.max())) + 1
    hits = np.bincount(labels[labels == predicted], minlength=size)
    occurring = np.bincount(labels, minlength=size) + np.bincount(predicted, minlength=size)
    present = occurring > 0
    return float((2 * hits[present] / occurring[present]).mean())


def auc(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Area under the ROC curve; of more than two classes, the mean of each against the rest.

    Source: the Mann-Whitney statistic with mid-ranks for ties, Hanley & McNeil (1982), Radiology 143.
    """
    import numpy as np

    columns = [scores.shape[1] - 1] if scores.shape[1] <= 2 else list(range(scores.shape[1]))
    areas = [_area(labels == (1 if scores.shape[1] == 1 else column), scores[:, column]) for column in columns]
    return float(np.mean(areas))


def _area(positive: NDArray[Any], score: NDArray[Any]) -> float:
    import numpy as np

    count = int(positive.sum())
    rest = len(positive) - count
    if count == 0 or rest == 0:
        return math.nan
    _, inverse, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest))


def losses(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    """Each sample's negative log of the probability given to its label, in nats: float array [n].

    One column is the probability of class 1.
    """
    import numpy as np

    both = np.column_stack([1 - scores[:, 0], scores[:, 0]]) if scores.shape[1] == 1 else scores
    picked: NDArray[Any] = both[np.arange(len(labels)), labels]
    return -np.log(np.clip(picked.astype(np.float64), _SMALLEST, 1.0))


def deviations(expected: NDArray[Any], answered: NDArray[Any]) -> NDArray[Any]:
    """Absolute differences, flattened to one row a sample: float array [n, m]. NaN on both sides is no difference."""
    import numpy as np

    wanted = expected.reshape(len(expected), -1).astype(np.float64)
    given = answered.reshape(len(answered), -1).astype(np.float64)
    same = (np.isnan(wanted) & np.isnan(given)) | (wanted == given)
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.abs(wanted - given))
