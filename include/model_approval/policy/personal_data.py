"""What personal data looks like: in the names of columns and in free text.

A net with known holes, not a proof: names in prose, addresses and identifiers of other countries pass. It finds what
slips into a sample by accident. Every pattern runs in time linear in the text, so that a hostile sample cannot hold it
up: each repetition is bounded and none can match the same text in two ways.
"""

from __future__ import annotations

import re

from model_approval.policy.schema import Pattern

NUMBER = r"^[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?$"
"""A decimal number as CSV files hold it."""

TEXT_PATTERNS: dict[Pattern, str] = {
    Pattern.EMAIL: r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
    # ITU-T E.164 with its country code; else the North American or a European trunk form, both with separators.
    Pattern.PHONE: (
        r"(?:\+|\b00)[1-9][0-9]{0,2}(?:[ ().\-/]{0,3}[0-9]){6,12}\b"
        r"|(?:\([2-9][0-9]{2}\) ?|\b[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}\b"
        r"|\b0[1-9][0-9]{1,4}(?:[ /-][0-9]{2,8}){1,4}\b"
    ),
    Pattern.NATIONAL_ID: "|".join(
        (
            r"\b(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}\b",  # US SSN (SSA, randomised since 2011)
            r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b",  # UK NINO (HMRC NIM39110)
            r"\b756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}\b",  # Swiss AHV number
            r"\b[0-9]{8}-?[A-HJ-NP-TV-Z]\b",  # Spanish DNI
            r"\b[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]\b",  # Italian codice fiscale
            r"\b[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]) ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b",  # French NIR
            r"\b[2-9][0-9]{3} [0-9]{4} [0-9]{4}\b(?! [0-9])",  # Indian Aadhaar
        )
    ),
}
"""Free text that must not be there. Card numbers are not among them: a pattern cannot check their last digit."""

PATTERN_WORDS: dict[Pattern, str] = {
    Pattern.EMAIL: "an e-mail address",
    Pattern.PHONE: "a phone number",
    Pattern.NATIONAL_ID: "a national identity number",
    Pattern.CARD_NUMBER: "a payment card number",
}

_DIGITS = re.compile(r"[0-9]+")
# Issuers' first digits (ISO/IEC 7812): Visa, Mastercard (two ranges), American Express, Diners, JCB, Discover,
# UnionPay.
_ISSUER = re.compile(r"4|5[1-5]|2[2-7]|3[0-8]|6")
_FRACTION = re.compile(r"\.[0-9]{0,30}[1-9]")
_MOST_GROUPS = 5
"""Cards are printed as 4-4-4-4(-3) or 4-6-5."""

_PERSONAL_NAME = re.compile(
    r"(?:^|_)(?:e_?mail|phone|telephone|mobile|msisdn|fax|ssn|nin|nino|passport|iban|pan|dob|birth|birthday|birthdate"
    r"|birthplace|surname|forename|first_?name|last_?name|full_?name|given_?name|family_?name|maiden_?name|middle_?name"
    r"|(?:customer|client|patient|person|employee|applicant|user|holder|contact)_?name|address|street|postcode|postal_code"
    r"|zip_?code|national_id|identity_number|social_security|tax_id|driving_licence|driver_license|licence_plate"
    r"|license_plate|(?:card|account|cc)_?number|cvv|ip|gender|sex|religion|ethnicity|race|nationality"
    r"|sexual_orientation|political|biometric|diagnosis|latitude|longitude)(?:_|$)|^name$"
)


def looks_personal(column: str) -> bool:
    """Whether a column's name speaks of personal data: `customerEmail`, `home-address`, `date_of_birth`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column[:256])
    return _PERSONAL_NAME.search(re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")) is not None


def holds_card_number(text: str) -> bool:
    """Whether a text holds 13 to 19 digits that an issuer could have given out, check digit included.

    In one piece, or as printed in groups of three to seven digits with a blank or hyphen between them.
    """
    groups: list[str] = []
    end = -1
    for found in _DIGITS.finditer(text):
        follows = 0 < end == found.start() - 1 and text[end] in " -"
        groups = [*groups[1 - _MOST_GROUPS :], found.group()] if follows else [found.group()]
        end = found.end()
        if _is_card(groups[-1]) and not _is_decimal(text, found.start(), end):
            return True
        if any(_is_card("".join(groups[first:])) for first in range(len(groups) - 2) if _is_printed(groups[first:])):
            return True
    return False


def _is_printed(groups: list[str]) -> bool:
    return len(groups[0]) == 4 and all(3 <= len(group) <= 7 for group in groups)


def _is_decimal(text: str, start: int, end: int) -> bool:
    """Whether the digits belong to a number with decimal places other than zeros."""
    places_before = text[max(0, start - 2) : start - 1].isdigit() and text[start - 1] == "."
    return places_before or _FRACTION.match(text, end) is not None


def _is_card(digits: str) -> bool:
    """First digits and check digit (ISO/IEC 7812-1, annex B)."""
    if not 13 <= len(digits) <= 19 or not _ISSUER.match(digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
