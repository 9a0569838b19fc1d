"""Licences by their texts: those that installed packages really ship."""

from __future__ import annotations

from importlib.metadata import distribution

import pytest

from model_approval.validators.supply_chain.licence_texts import family, recognise

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("package", "file", "identifier"),
    [
        ("pydantic", "LICENSE", "MIT"),
        ("boto3", "LICENSE", "Apache-2.0"),
        ("jinja2", "LICENSE.txt", "BSD-3-Clause"),
        ("typing_extensions", "LICENSE", "PSF-2.0"),
    ],
)
def test_the_texts_of_real_packages_are_recognised(package, file, identifier):
    path = next(one for one in distribution(package).files or () if one.name == file and "dist-info" in str(one))
    assert recognise(path.read_text()) == identifier


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007 ... GNU Affero General Public License", "GPL-3.0"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3, 19 November 2007", "AGPL-3.0"),
        ("Mozilla Public License Version 2.0\n====", "MPL-2.0"),
        ("Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution 4.0 International Public License", "CC-BY-4.0"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "LicenseRef-llama3"),
        ("permission is hereby granted, free of charge", None),
        ("", None),
    ],
)
def test_a_text_is_known_by_its_own_words_alone(text, identifier):
    assert recognise(text) == identifier


def test_a_text_does_not_tell_only_from_or_later():
    assert {family(one) for one in ("GPL-3.0", "GPL-3.0-only", "GPL-3.0-or-later", "GPL-3.0+")} == {"GPL-3.0"}
