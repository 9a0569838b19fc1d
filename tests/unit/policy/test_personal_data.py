"""What counts as personal data, by name and by text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.policy.personal_data import NUMBER, TEXT_PATTERNS, holds_card_number, looks_personal
from model_approval.policy.schema import Pattern

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "column",
    ["email", "customerEmail", "e-mail", "phone_number", "date_of_birth", "DOB", "Last Name", "ip", "client_ip_address",
     "home-address", "zipCode", "SSN", "card_number", "gender", "name", "passportNo", "nationality"],
)  # fmt: skip
def test_names_that_speak_of_people_are_recognised(column):
    assert looks_personal(column)


@pytest.mark.parametrize(
    "column",
    ["amount_eur", "hour_of_day", "card_age_days", "transactions_24h", "merchant_risk", "country_mismatch",
     "new_device", "minutes_since_last", "product_name", "filename", "recipient", "shipping", "span", "panel",
     "racetrack", "emailed_x"],
)  # fmt: skip
def test_names_that_only_sound_alike_are_not(column):
    assert not looks_personal(column)


def found(pattern: Pattern, text: str) -> bool:
    return re.search(TEXT_PATTERNS[pattern], text) is not None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (Pattern.EMAIL, "a.b+c@mail.example.co.uk"),
        (Pattern.EMAIL, "<ana@example.org>,"),
        (Pattern.PHONE, "+1-212-555-0199"),
        (Pattern.PHONE, "0049 (0)30 901820"),
        (Pattern.PHONE, "030 901820"),
        (Pattern.PHONE, "212.555.0199"),
        (Pattern.NATIONAL_ID, "536-90-4399"),
        (Pattern.NATIONAL_ID, "756.9217.0769.85"),
        (Pattern.NATIONAL_ID, "12345678Z"),
        (Pattern.NATIONAL_ID, "RSSMRA85T10A562S"),
        (Pattern.NATIONAL_ID, "1 85 05 78 006 084 36"),
        (Pattern.NATIONAL_ID, "2345 6789 0123"),
    ],
)
def test_text_with_personal_data_is_found(pattern, text):
    assert found(pattern, text)


@pytest.mark.parametrize(
    "text",
    ["2026-06-01 12:00:00", "2026-06-01T12:00:00Z", "10.0.0.1", "v1.2.3", "user@", "@handle", "1234567", "0.125",
     "order 2026-000123", "sha256:9f2c4e", "12:30 to 14:45", "3.14159265358979", "666-12-3456", "1e-10"],
)  # fmt: skip
def test_ordinary_text_is_not(text):
    assert not any(found(pattern, text) for pattern in TEXT_PATTERNS)
    assert not holds_card_number(text)


@pytest.mark.parametrize(
    "number", ["4111111111111111", "4111-1111-1111-1111", "378282246310005", "5555 5555 5555 4444", "6011000990139424"]
)
def test_test_card_numbers_of_the_issuers_are_found(number):
    assert holds_card_number(number)
    assert holds_card_number(f"card {number}.")
    assert holds_card_number(f"45 {number} 12/27")


def test_card_number_is_found_as_a_float_column_writes_it_and_not_in_decimal_places():
    assert holds_card_number("4111111111111111.0")
    assert not holds_card_number("0.4111111111111111")
    assert not holds_card_number("4111111111111111.25")


def test_groups_that_no_card_is_printed_in_are_not_put_together():
    assert not holds_card_number("41 11 11 11 11 11 11 11")
    assert not holds_card_number("4111  1111  1111  1111")


@given(st.integers(min_value=0, max_value=10**15 - 1), st.integers(min_value=1, max_value=9))
def test_any_wrong_check_digit_is_seen(stem, error):
    digits = f"4{stem:015d}"
    right = next(digits[:-1] + str(last) for last in range(10) if holds_card_number(digits[:-1] + str(last)))
    wrong = right[:-1] + str((int(right[-1]) + error) % 10)
    assert not holds_card_number(wrong)


@pytest.mark.parametrize("text", ["0", "-1.5", "+.5", "1e-7", "12.", "1E10"])
def test_numbers_are_numbers(text):
    assert re.search(NUMBER, text)


@pytest.mark.parametrize("text", ["", ".", "1_000", "1,5", "nan", "inf", "0x10", "1 2", "٣", "1e"])
def test_what_python_or_people_take_for_numbers_is_not(text):
    assert not re.search(NUMBER, text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    ["a", "a@", "a.", "a@a.", "+1", "+1 ", "0", "00", "1", "1 ", "1-", "4", "4 ", "A", "AB", "2345 ", "0123 ", "(("],
)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece):
    # A quadratic pattern would take minutes on two million characters; all of these together take seconds.
    text, began_s = piece * (300_000 // len(piece)), time.process_time()
    for pattern in (*TEXT_PATTERNS.values(), NUMBER):
        re.search(pattern, text)
    holds_card_number(text)
    looks_personal(text)
    assert time.process_time() - began_s < 15
