"""Licences by a few words of their texts that no other licence has.

Compared without case, punctuation and line breaks, so that reflowed copies are recognised too. A text that matches
none is unknown: better to ask a person than to guess.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z0-9]+")
_REDISTRIBUTION = "redistributions in binary form must reproduce the above copyright notice"
_ENDORSE = "to endorse or promote products derived from this software"
_ANY_PURPOSE = "permission to use copy modify and or distribute this software for any purpose with or without fee"
_CREATIVE_COMMONS = (
    ("CC-BY-NC-SA-4.0", "attribution noncommercial sharealike 4 0 international"),
    ("CC-BY-NC-ND-4.0", "attribution noncommercial noderivatives 4 0 international"),
    ("CC-BY-NC-4.0", "attribution noncommercial 4 0 international"),
    ("CC-BY-SA-4.0", "attribution sharealike 4 0 international"),
    ("CC-BY-ND-4.0", "attribution noderivatives 4 0 international"),
    ("CC-BY-4.0", "attribution 4 0 international"),
)
# The first that matches counts, so the narrower stand first. GPL texts are the same for `only` and `or later`.
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AGPL-3.0", ("gnu affero general public license version 3 19 november 2007",)),
    ("LGPL-3.0", ("gnu lesser general public license version 3 29 june 2007",)),
    ("LGPL-2.1", ("gnu lesser general public license version 2 1 february 1999",)),
    ("GPL-3.0", ("gnu general public license version 3 29 june 2007",)),
    ("GPL-2.0", ("gnu general public license version 2 june 1991",)),
    ("PSF-2.0", ("python software foundation license version 2",)),  # other licences of Python's history follow in it
    ("Apache-2.0", ("apache license version 2 0 january 2004",)),
    ("Apache-2.0", ("licensed under the apache license version 2 0", "you may not use this file except in compliance")),
    ("MPL-2.0", ("mozilla public license version 2 0",)),
    ("EPL-2.0", ("eclipse public license v 2 0",)),
    ("BSL-1.0", ("boost software license version 1 0",)),
    ("CC0-1.0", ("cc0 1 0 universal",)),
    *((name, (words,)) for name, words in _CREATIVE_COMMONS),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("LicenseRef-llama2", ("llama 2 community license agreement",)),
    ("LicenseRef-llama3", ("llama 3 community license agreement",)),
    ("LicenseRef-gemma", ("gemma terms of use",)),
    ("BSD-4-Clause", (_REDISTRIBUTION, _ENDORSE, "all advertising materials mentioning features")),
    ("BSD-3-Clause", (_REDISTRIBUTION, _ENDORSE)),
    ("BSD-2-Clause", (_REDISTRIBUTION,)),
    (
        "MIT",
        (
            "permission is hereby granted free of charge to any person obtaining a copy",
            "and this permission notice shall be included in all copies or substantial portions",
        ),
    ),
    ("ISC", (_ANY_PURPOSE, "provided that the above copyright notice and this permission notice appear in all copies")),
    ("0BSD", (_ANY_PURPOSE,)),
)


def recognise(text: str) -> str | None:
    """The SPDX identifier of a licence's text, without `-only` or `-or-later`; None when it is unknown."""
    words = f" {' '.join(_WORD.findall(text.lower()))} "
    for name, phrases in _TEXTS:
        if all(f" {phrase} " in words for phrase in phrases):
            return name
    return None


def family(identifier: str) -> str:
    """An identifier without what a licence's text does not tell."""
    return re.sub(r"(-only|-or-later|\+)$", "", identifier)
