"""What an import in a pickle means, by its name and by what is done with it; asked of the validators' interpreter."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.support.validation import PYTHON

pytestmark = pytest.mark.contract

_ASK = """
import json, sys
from model_approval.validators.security_scan.pickle_rules import standing_of
from model_approval.validators.security_scan.pickle_values import Import
asked = json.load(sys.stdin)
made = [Import(m, n, 0, **{**use, "named": set(use.get("named", ()))}) for m, n, use, _ in asked]
json.dump([standing_of(one) for one in made], sys.stdout)
"""
_TABLE: list[tuple[str, str, dict[str, Any], str]] = [
    ("collections", "OrderedDict", {"called": True}, "harmless"),
    ("numpy", "ndarray", {}, "harmless"),
    ("__builtin__", "xrange", {"called": True}, "harmless"),
    ("sklearn.linear_model._logistic", "LogisticRegression", {"made": True}, "harmless"),
    ("sklearn.tree._tree", "Tree", {"called": True}, "harmless"),
    ("sklearn.feature_selection._univariate_selection", "f_classif", {}, "unknown"),
    ("torch.nn.modules.linear", "Linear", {"made": True}, "harmless"),
    ("dill._dill", "_load_type", {"called": True, "named": ["slice"]}, "harmless"),
    # Known to run what the sender chooses, whatever is done with them.
    ("posix", "system", {}, "dangerous"),
    ("builtins", "eval", {}, "dangerous"),
    ("__builtin__", "getattr", {}, "dangerous"),
    ("commands", "getoutput", {"called": True}, "dangerous"),
    ("importlib", "import_module", {"called": True}, "dangerous"),
    ("dill._dill", "_load_type", {"called": True, "named": ["slice", "CodeType"]}, "dangerous"),
    ("dill._dill", "_load_type", {"called": True, "named": [""]}, "dangerous"),
    # Functions of anybody's that are called with arguments of the sender's.
    ("acme.tools", "launch", {"called": True}, "unlisted"),
    ("statistics", "mean", {"called": True}, "unlisted"),
    ("numpy.lib.npyio", "save", {"called": True}, "unlisted"),
    ("sklearn.datasets._base", "load_files", {"called": True}, "unlisted"),
    ("torch.hub", "load", {"called": True}, "unlisted"),
    ("numpy", "ndarray.tofile", {"called": True}, "unlisted"),
    ("string", "Formatter", {"called": True}, "unlisted"),
    # Classes and functions that only their authors know, and that nothing calls while loading.
    ("acme.models", "Scorer", {"made": True}, "unknown"),
    ("acme.models", "Scorer", {"called": True}, "unknown"),
    ("acme.tools", "launch", {}, "unknown"),
    ("transformers.training_args", "TrainingArguments", {"made": True}, "unknown"),
    ("nltk.classify.naivebayes", "NaiveBayesClassifier", {"called": True}, "unknown"),
]


@pytest.fixture(scope="module")
def standings() -> list[str]:
    """What the validators' own interpreter says about the whole table; picklescan's list is there alone."""
    asked = subprocess.run(
        [str(PYTHON), "-I", "-c", _ASK], input=json.dumps(_TABLE), capture_output=True, text=True, check=True
    )
    told: list[str] = json.loads(asked.stdout)
    return told


@pytest.mark.parametrize("row", range(len(_TABLE)), ids=[f"{m}.{n}-{sorted(use)}" for m, n, use, _ in _TABLE])
def test_an_import_is_held_for_what_it_is(standings: list[str], row: int) -> None:
    assert standings[row] == _TABLE[row][3]
