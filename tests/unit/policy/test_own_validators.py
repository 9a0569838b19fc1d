"""Checks by validators of one's own: what a policy must say about them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model_approval.policy.schema import Check
from tests.support.builders import a_security_check

pytestmark = pytest.mark.unit


def test_check_of_ones_own_names_its_image() -> None:
    check = Check.model_validate(a_security_check(validator="model-card", image="registry.example/card@sha256:1"))
    assert check.image == "registry.example/card@sha256:1"


def test_unknown_validator_without_image_is_refused_naming_ours() -> None:
    with pytest.raises(ValidationError, match="'secure_scan' is not security_scan or gpu_benchmark"):
        Check.model_validate(a_security_check(validator="secure_scan"))


def test_image_in_place_of_a_built_in_validator_is_refused() -> None:
    with pytest.raises(ValidationError, match="runs from the target's validator_image"):
        Check.model_validate(a_security_check(image="registry.example/other:1"))
