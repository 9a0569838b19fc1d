"""Licence expressions: read with one list of licences, which takes its time to make."""

from __future__ import annotations

from unittest.mock import Mock

import license_expression
import pytest

from model_approval.validators.supply_chain import licences

pytestmark = pytest.mark.unit


def test_the_list_of_licences_is_made_once(monkeypatch):
    make = Mock(side_effect=license_expression.get_spdx_licensing)
    monkeypatch.setattr(license_expression, "get_spdx_licensing", make)
    licences._licensing.cache_clear()
    expressions = ("GPL-2.0-only WITH Classpath-exception-2.0", "MIT OR (ISC AND 0BSD)", "Zlib", "LicenseRef-own")
    assert all(licences.parse_expression(one) for one in expressions)
    assert make.call_count == 1
