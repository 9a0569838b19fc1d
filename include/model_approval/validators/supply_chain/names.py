"""Which files of an artifact declare what. By name, since that is how loaders and installers find them."""

from __future__ import annotations

import re

_REQUIREMENTS = re.compile(r"(?:.*[-_.])?(?:requirements|constraints).*\.(?:txt|in)", re.IGNORECASE)
_CONDA = re.compile(r"(?:conda|environment)(?:[-_.].*)?\.ya?ml", re.IGNORECASE)
_PYTHON_ENV = re.compile(r"python_env.*\.ya?ml", re.IGNORECASE)


def is_requirements(path: str) -> bool:
    """Whether it is a list for pip."""
    return _REQUIREMENTS.fullmatch(_base(path)) is not None


def is_conda(path: str) -> bool:
    """Whether it is a conda environment."""
    return _CONDA.fullmatch(_base(path)) is not None


def is_python_env(path: str) -> bool:
    """Whether it is MLflow's description of an environment."""
    return _PYTHON_ENV.fullmatch(_base(path)) is not None


def is_list_of_dependencies(path: str) -> bool:
    """Whether it is any of these."""
    return is_requirements(path) or is_conda(path) or is_python_env(path)


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1]
