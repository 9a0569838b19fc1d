"""What people pickle: estimators, boosters, arrays, frames, tensors, in every protocol and compression."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import io
import pathlib
import pickle
import uuid
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import scipy.sparse
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    gaussian_process,
    impute,
    isotonic,
    linear_model,
    mixture,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.model_selection import GridSearchCV

from tests.support.corpus.sample import Sample

_RANDOM = np.random.default_rng(20261125)
_X = _RANDOM.normal(size=(60, 4))
_Y = (_X[:, 0] > 0).astype(int)
_WORDS = ["a model of words", "another model", "words again and again", "nothing to see"] * 5


class Unheard:
    """A class of nobody's library: a scan cannot know what making one does."""

    def __init__(self) -> None:
        self.weights = [1.0, 2.0]


def _estimators() -> dict[str, Callable[[], Any]]:
    two = [("a", linear_model.LogisticRegression()), ("b", tree.DecisionTreeClassifier())]
    columns = compose.ColumnTransformer([("s", preprocessing.StandardScaler(), [0, 1])], remainder="passthrough")
    steps = [("columns", columns), ("forest", ensemble.RandomForestClassifier(3))]
    kernel = gaussian_process.GaussianProcessClassifier()
    return {
        "linear": linear_model.LinearRegression,
        "ridge": linear_model.Ridge,
        "lasso": linear_model.Lasso,
        "logistic": linear_model.LogisticRegression,
        "sgd": linear_model.SGDClassifier,
        "forest": lambda: ensemble.RandomForestClassifier(3),
        "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=3),
        "histogram": lambda: ensemble.HistGradientBoostingClassifier(max_iter=3),
        "isolation": lambda: ensemble.IsolationForest(n_estimators=3),
        "ada": lambda: ensemble.AdaBoostClassifier(n_estimators=3),
        "voting": lambda: ensemble.VotingClassifier(two),
        "stacking": lambda: ensemble.StackingClassifier(two),
        "tree": tree.DecisionTreeClassifier,
        "svc": svm.SVC,
        "linear-svc": svm.LinearSVC,
        "neighbours": neighbors.KNeighborsClassifier,
        "bayes": naive_bayes.GaussianNB,
        "perceptron": lambda: neural_network.MLPClassifier((4,), max_iter=3),
        "means": lambda: cluster.KMeans(2, n_init=1),
        "pca": lambda: decomposition.PCA(2),
        "mixture": lambda: mixture.GaussianMixture(2),
        "gaussian-process": lambda: kernel,
        "isotonic": isotonic.IsotonicRegression,
        "scaler": preprocessing.StandardScaler,
        "imputer": impute.SimpleImputer,
        "encoder": preprocessing.OneHotEncoder,
        "one-against-rest": lambda: multiclass.OneVsRestClassifier(two[0][1]),
        "calibrated": lambda: calibration.CalibratedClassifierCV(two[0][1], cv=2),
        "grid": lambda: GridSearchCV(two[0][1], {"C": [0.1, 1.0]}, cv=2),
        "pipeline": lambda: pipeline.Pipeline(steps),
    }


@cache
def _fitted(name: str) -> Any:
    made = _estimators()[name]()
    return made.fit(_X[:, 0] if name == "isotonic" else _X, _Y)


@cache
def _text_pipeline() -> Any:
    vectorizer = feature_extraction.text.TfidfVectorizer()
    return pipeline.make_pipeline(vectorizer, naive_bayes.MultinomialNB()).fit(_WORDS, [0, 1] * 10)


def dumped(value: Callable[[], Any], **options: Any) -> bytes:
    """What `joblib.dump` writes."""
    buffer = io.BytesIO()
    joblib.dump(value(), buffer, **options)
    return buffer.getvalue()


def pickled(value: Callable[[], Any], protocol: int) -> bytes:
    """What `pickle.dump` writes."""
    return pickle.dumps(value(), protocol)


def _dilled(value: Callable[[], Any]) -> bytes:
    """What `dill.dump` writes. Importing dill teaches every pickler its ways, which other samples must not see."""
    import dill

    try:
        return bytes(dill.dumps(value()))
    finally:
        dill.extend(use_dill=False)


def _plain() -> Any:
    return {
        "numbers": [1, 2.5, 3 + 4j, 2**80, -1],
        "texts": ("a", "ä", ""),
        "bytes": b"\0\xff",
        "sets": {1, 2},
        "nothing": None,
        "ordered": collections.OrderedDict(a=1),
        "counter": collections.Counter("abc"),
        "defaults": collections.defaultdict(list),
        "queue": collections.deque([1]),
        "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        "slice": slice(1, 2),
        "cost": decimal.Decimal("1.5"),
        "third": fractions.Fraction(1, 3),
        "range": range(3),
        "array": bytearray(b"a"),
    }


def _arrays() -> Any:
    structured = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    return {
        "float": np.arange(50.0),
        "int": np.arange(6, dtype=np.int8).reshape(2, 3),
        "fortran": np.asfortranarray(_X),
        "text": np.array(["a", "bc"]),
        "scalar": np.float32(1.5),
        "bool": np.array([True]),
        "empty": np.empty((0, 3)),
        "objects": np.array([None, "a", 1], dtype=object),
        "structured": structured,
        "when": np.array(["2026-01-01"], "M8[D]"),
        "half": np.ones(3, np.float16),
        "complex": np.ones(2, np.complex64),
    }


def _large() -> Any:
    return {"weights": _RANDOM.normal(size=(400, 400)), "bias": np.zeros(400, np.float32)}


def _frame() -> Any:
    return pd.DataFrame(
        {"amount": [1.5, 2.0], "country": ["DE", "FR"], "at": pd.to_datetime(["2026-01-01", "2026-01-02"])}
    )


def _sparse() -> Any:
    return scipy.sparse.csr_matrix(np.eye(4))


def _values() -> list[Sample]:
    made = [Sample(f"plain-{protocol}.pkl", partial(pickled, _plain, protocol)) for protocol in range(6)]
    made += [Sample(f"arrays-{protocol}.pkl", partial(pickled, _arrays, protocol)) for protocol in range(6)]
    made += [
        Sample("large.pkl", partial(pickled, _large, 4)),
        Sample("large-5.pickle", partial(pickled, _large, 5)),
        Sample("stacked.pkl", lambda: pickled(_plain, 4) + pickled(_arrays, 4)),
        Sample("frame.pkl", partial(pickled, _frame, 5)),
        Sample("sparse.pkl", partial(pickled, _sparse, 4)),
        Sample("sparse.joblib", partial(dumped, _sparse)),
        Sample("arrays.joblib", partial(dumped, _arrays)),
        Sample("large.joblib", partial(dumped, _large)),
        Sample("dill-simple.pkl", partial(_dilled, lambda: {"names": ["a"], "rate": 0.5})),
        Sample("dill-arrays.pkl", partial(_dilled, _arrays)),
        Sample("cloudpickle-plain.pkl", lambda: bytes(cloudpickle.dumps(_plain()))),
        Sample("path.pkl", partial(pickled, lambda: {"at": pathlib.PurePosixPath("a/b"), "id": uuid.UUID(int=7)}, 4)),
        Sample("unheard.pkl", partial(pickled, Unheard, 4), known=False),
    ]
    return made


def _models() -> list[Sample]:
    made: list[Sample] = []
    for at, name in enumerate(_estimators()):
        made.append(Sample(f"{name}.joblib", partial(dumped, partial(_fitted, name))))
        made.append(Sample(f"{name}.pkl", partial(pickled, partial(_fitted, name), 2 + at % 4)))
    made += [
        Sample("text-pipeline.joblib", partial(dumped, _text_pipeline)),
        Sample("text-pipeline.pkl", partial(pickled, _text_pipeline, 5)),
    ]
    ways = [("zlib", level) for level in (1, 3, 9)] + [("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3), ("lz4", 3)]
    forest = partial(_fitted, "forest")
    made += [
        Sample(f"forest-{way}-{level}.joblib", partial(dumped, forest, compress=(way, level))) for way, level in ways
    ]
    made += [
        Sample(f"forest-{protocol}.joblib", partial(dumped, forest, protocol=protocol)) for protocol in (2, 3, 4, 5)
    ]
    return made


def _boosters() -> list[Sample]:
    import lightgbm
    import xgboost

    @cache
    def extreme() -> Any:
        return xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(_X, _Y)

    @cache
    def light() -> Any:
        return lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=5, verbose=-1).fit(_X, _Y)

    return [
        Sample("xgboost.pkl", partial(pickled, extreme, 4)),
        Sample("xgboost.joblib", partial(dumped, extreme)),
        Sample("xgboost-booster.pkl", partial(pickled, lambda: extreme().get_booster(), 4)),
        Sample("lightgbm.pkl", partial(pickled, light, 4)),
        Sample("lightgbm.joblib", partial(dumped, light)),
        Sample("lightgbm-booster.pkl", partial(pickled, lambda: light().booster_, 4)),
    ]


def samples() -> list[Sample]:
    """All of them."""
    return [*_values(), *_models(), *_boosters()]
