"""A model's answers over a holdout, read as classes, scores or numbers, and held against what was expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark import scores
from model_approval.validators.gpu_benchmark.extra_parameters import HoldoutParameters
from model_approval.validators.gpu_benchmark.holdout import Holdout

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HINT = "mend the check's parameter `holdout`"
_ROUNDING = 1e-3
"""How far a probability or a row's sum may be off: half precision is as coarse as that."""
_NO_CLASS = 100_000
"""Stands for an answer that is no class at all: wrong whatever the label, and no breakdown."""

Answers = dict[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Quality:
    """One measure of one model over the holdout, computable on any resample of it."""

    size: int
    of: Callable[[NDArray[Any]], float]
    """From positions (int array) to the measure."""
    hits: NDArray[Any] | None = None
    """For shares: bool array [size], whether each sample is right."""


def quality(name: str, holdout: Holdout, answers: Answers, wanted: HoldoutParameters) -> Quality:
    """One measure, ready to be computed. Raises EvidenceError when holdout or answers do not fit it."""
    import numpy as np

    if name in ("exact_match", "max_deviation"):
        return _against_expected(name, holdout, answers, wanted)
    if name in ("rmse", "mae"):
        power = 2 if name == "rmse" else 1
        each = np.concatenate([scores.deviations(*pair) for pair in _pairs(holdout, answers, wanted)], axis=1)
        rows = (each**power).mean(axis=1)
        return Quality(holdout.rows, lambda at: float(rows[at].mean() ** (1 / power)))
    labels = _class_numbers(holdout, wanted)
    if name in ("auc", "log_loss"):
        table = _score_table(answers, wanted, labels)
        if name == "auc":
            return Quality(holdout.rows, lambda at: scores.auc(labels[at], table[at]))
        loss = scores.losses(labels, _probabilities(table))
        return Quality(holdout.rows, lambda at: float(loss[at].mean()))
    predicted = _predicted(answers, wanted)
    if name == "f1_macro":
        return Quality(holdout.rows, lambda at: scores.f1_macro(labels[at], predicted[at]))
    return _share(labels == predicted)


def _probabilities(table: NDArray[Any]) -> NDArray[Any]:
    """The scores, if they are probabilities: of any others a logarithm is no loss, and of all ones it would be 0."""
    import numpy as np

    wrong = ((table < -_ROUNDING) | (table > 1 + _ROUNDING)).any(axis=1)
    if table.shape[1] > 1:
        wrong |= np.abs(table.sum(axis=1) - 1) > _ROUNDING
    if not wrong.any():
        return table
    shown = ", ".join(f"{score:.6g}" for score in table[wrong.argmax()][:5])
    raise EvidenceError(
        f"log_loss takes probabilities, and {int(wrong.sum())} of {len(table)} rows of scores hold none "
        f"(row {int(wrong.argmax()) + 1}: {shown}): each must be from 0 to 1, and those of several classes add up to 1",
        hint="name an output of probabilities in `holdout.scores`, or take `auc`, which takes any scores",
    )


def _share(hits: NDArray[Any]) -> Quality:
    return Quality(len(hits), lambda at: float(hits[at].mean()), hits)


def _against_expected(name: str, holdout: Holdout, answers: Answers, wanted: HoldoutParameters) -> Quality:
    import numpy as np

    if name == "exact_match" and not holdout.expected:
        return _share(_predicted_words(answers, wanted) == np.array(holdout.labels, dtype=object))
    worst = np.zeros(holdout.rows)
    equal = np.ones(holdout.rows, dtype=bool)
    for expected, given in _pairs(holdout, answers, wanted):
        if "O" in (given.dtype.kind, expected.dtype.kind):
            equal &= (_words(given).reshape(holdout.rows, -1) == _words(expected).reshape(holdout.rows, -1)).all(axis=1)
            continue
        distance = scores.deviations(expected, given).max(axis=1, initial=0.0)
        worst = np.maximum(worst, np.where(np.isnan(distance), np.inf, distance))
        equal &= distance == 0
    return _share(equal) if name == "exact_match" else Quality(holdout.rows, lambda at: float(worst[at].max()))


def _pairs(holdout: Holdout, answers: Answers, wanted: HoldoutParameters) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """What was expected beside what was answered: the file's expected outputs, else its labels as numbers."""
    expected = dict(holdout.expected) or {"": _numbers(holdout)}
    pairs = [(array, _picked(answers, output or wanted.output)) for output, array in expected.items()]
    for array, given in pairs:
        if given.size != array.size:
            raise EvidenceError(
                f"expected is shape {list(array.shape)}, answered {list(given.shape)}", hint="mend the holdout"
            )
    return pairs


def _picked(answers: Answers, name: str | None) -> NDArray[Any]:
    if name is None:
        return next(iter(answers.values()))
    if name not in answers:
        raise EvidenceError(f"the model answers no output {name!r}; it answers {', '.join(answers)}", hint=_HINT)
    return answers[name]


def _words(array: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    plain = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.array(plain, dtype=object).reshape(array.shape)


def _numbers(holdout: Holdout) -> NDArray[Any]:
    import numpy as np

    if holdout.labels is None:
        raise EvidenceError("the holdout has no labels", hint=_HINT)
    try:
        return np.array(holdout.labels, dtype=np.float64)
    except ValueError:
        raise EvidenceError("the holdout's labels are no numbers", hint=_HINT) from None


def _class_numbers(holdout: Holdout, wanted: HoldoutParameters) -> NDArray[Any]:
    import numpy as np

    if holdout.labels is None:
        raise EvidenceError("the holdout has no labels", hint=_HINT)
    return np.array([_class_number(label, wanted) for label in holdout.labels], dtype=np.int64)


def _class_number(label: str, wanted: HoldoutParameters) -> int:
    if wanted.classes:
        if label in wanted.classes:
            return wanted.classes.index(label)
        raise EvidenceError(f"label {label[:80]!r} is none of `holdout.classes`", hint=_HINT)
    try:
        number = float(label)
    except ValueError:
        number = -1.0
    if not 0 <= number < _NO_CLASS or number != int(number):
        raise EvidenceError(
            f"label {label[:80]!r} is no class number", hint="list the classes' names in `holdout.classes`"
        )
    return int(number)


def _predicted(answers: Answers, wanted: HoldoutParameters) -> NDArray[Any]:
    """Class numbers: answered ones, the largest of several scores, or one probability from one half on."""
    import numpy as np

    answer = _picked(answers, wanted.output)
    table = answer.reshape(len(answer), -1)
    if table.shape[1] > 1:
        if table.dtype == object:
            raise EvidenceError("the model's answer has several words a row; name an output in `holdout.output`")
        return np.where(np.isnan(table).any(axis=1), _NO_CLASS, table.argmax(axis=1)).astype(np.int64)
    if table.dtype == object:
        return np.array([_answered_class(word, wanted) for word in _words(table)[:, 0]], dtype=np.int64)
    numbers = (table[:, 0] >= 0.5) if table.dtype.kind == "f" else table[:, 0]
    known = np.isfinite(table[:, 0]) & (numbers >= 0) & (numbers < _NO_CLASS)
    return np.where(known, numbers, _NO_CLASS).astype(np.int64)


def _answered_class(word: str, wanted: HoldoutParameters) -> int:
    """A word that the policy does not list is a wrong answer, not a broken holdout."""
    try:
        return _class_number(word, wanted)
    except EvidenceError:
        return _NO_CLASS


def _predicted_words(answers: Answers, wanted: HoldoutParameters) -> NDArray[Any]:
    import numpy as np

    answer = _picked(answers, wanted.output)
    if answer.dtype == object:
        return _words(answer.reshape(len(answer), -1))[:, 0]
    names = wanted.classes
    numbers = _predicted(answers, wanted)
    return np.array([names[number] if 0 <= number < len(names) else str(number) for number in numbers], dtype=object)


def _score_table(answers: Answers, wanted: HoldoutParameters, labels: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if wanted.scores is not None:
        table = _picked(answers, wanted.scores)
    else:
        floating = [array for array in answers.values() if array.dtype.kind == "f"]
        if not floating:
            raise EvidenceError("the model answers no scores: none of its outputs is floating", hint=_HINT)
        table = floating[0]
    if table.dtype.kind not in "fiub":
        raise EvidenceError(f"output {wanted.scores!r} holds no numbers", hint=_HINT)
    table = np.asarray(table.reshape(len(table), -1), dtype=np.float64)
    if labels.max() >= max(table.shape[1], 2):
        raise EvidenceError(f"class {labels.max()} has no column among {table.shape[1]} scores", hint=_HINT)
    if not np.isfinite(table).all():
        raise EvidenceError("the model answers scores that are no finite numbers")
    return table
