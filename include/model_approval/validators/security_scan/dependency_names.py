"""Which files list dependencies, by their names: apart from what reads them, since most files are none."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_REQUIREMENTS = re.compile(r"^(requirements|constraints).*\.(txt|in)$")
_ENVIRONMENT = re.compile(r"^(conda|environment|env|python_env)[\w.-]*\.ya?ml$")


def is_requirements_file(name: str) -> bool:
    """Whether pip would be given a file of this name."""
    return _REQUIREMENTS.match(PurePosixPath(name).name.lower()) is not None


def is_environment_file(name: str) -> bool:
    """Whether conda or MLflow would be given a file of this name."""
    return _ENVIRONMENT.match(PurePosixPath(name).name.lower()) is not None
