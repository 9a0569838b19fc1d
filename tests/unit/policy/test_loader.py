"""Loading YAML: every mistake is told with file, line, field and what would be right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.base import Record
from model_approval.domain.committee import Committee
from model_approval.domain.deployment import Target
from model_approval.domain.errors import PolicyError
from model_approval.policy.loader import (
    KINDS,
    load_all_errors,
    load_committee,
    load_policy,
    load_target,
    parse,
    validated,
)
from model_approval.policy.schema import Policy
from model_approval.policy.wording import described_patterns, json_schema_of
from model_approval.policy.yaml_source import MAX_BYTES, parse_yaml

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent / "golden"
COMMITTEE = """\
schema: model-approval/committee/v1
name: model-risk
title: Model risk
roles:
  security:
    title: Security
    members: [ana]
"""
TARGET = "schema: model-approval/target/v1\nname: local\nruntime: local\n"


def first_error(text: str, kind: type[Record] = Committee) -> str:
    with pytest.raises(PolicyError) as caught:
        parse(text, kind, file="f.yaml")
    return str(caught.value)


def errors_of(text: str) -> list[str]:
    """Every mistake of a policy text; none when it can be used."""
    try:
        record, mistakes = validated(parse_yaml(text, file="f.yaml"), Policy)
    except PolicyError as error:
        return [str(error)]
    assert (record is None) == bool(mistakes)
    return [str(mistake) for mistake in mistakes]


def test_every_mistake_of_a_file_reads_as_in_the_golden_file():
    found = load_all_errors(GOLDEN / "policy-with-mistakes.yaml", Policy, file="policies/fraud.yaml")
    assert [str(error) for error in found] == (GOLDEN / "policy-with-mistakes.txt").read_text("utf-8").splitlines()


def test_the_first_mistake_is_the_one_raised():
    expected = (GOLDEN / "policy-with-mistakes.txt").read_text("utf-8").splitlines()[0]
    with pytest.raises(PolicyError) as caught:
        load_policy(GOLDEN / "policy-with-mistakes.yaml", file="policies/fraud.yaml")
    assert str(caught.value) == expected


def test_a_good_file_has_no_mistakes(tmp_path):
    path = tmp_path / "model-risk.yaml"
    path.write_text(COMMITTEE, encoding="utf-8")
    assert load_all_errors(path, Committee) == ()
    assert load_committee(path).roles["security"].members == ("ana",)


def test_a_target_loads(tmp_path):
    path = tmp_path / "local.yaml"
    path.write_text(TARGET, encoding="utf-8")
    assert load_target(path).name == "local"


def test_messages_name_the_path_unless_told_otherwise(tmp_path):
    path = tmp_path / "local.yaml"
    path.write_text(TARGET + "runtim: local\n", encoding="utf-8")
    with pytest.raises(PolicyError, match=f"^{re.escape(str(path))}:4: runtim: is not a known key"):
        load_target(path)


def test_a_file_that_is_not_there_is_told_as_such(tmp_path):
    with pytest.raises(PolicyError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_policy(tmp_path / "nowhere.yaml", file="nowhere.yaml")


def test_a_folder_instead_of_a_file_is_told_as_such(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read: Is a directory"):
        load_policy(tmp_path)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(PolicyError, match="is larger than 256 KiB"):
        load_policy(path)


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: a\ntitle: Gr\xf6\xdfe\n")
    with pytest.raises(PolicyError, match=r"latin\.yaml:2: is not UTF-8 text \(save the file as UTF-8\)"):
        load_policy(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: is empty"),
        ("# nothing but a comment\n", "f.yaml: is empty"),
        ("just words", "f.yaml:1: is 'just words' (must be a mapping: 'key: value' lines, indented below)"),
        ("- a\n- b", "f.yaml:1: is a list (must be a mapping: 'key: value' lines, indented below)"),
        ("a: [1\nb: 2", "f.yaml:2: is not valid YAML: while parsing a flow sequence expected ',' or ']', but got ':'"),
        ("a: 1\n b: 2", "f.yaml:2: is not valid YAML: mapping values are not allowed here"),
        ("a: 1\n\x07: 2", "f.yaml:2: holds a control character (remove it)"),
        ("a: 1\n---\nb: 1", "f.yaml:2: a second document starts here (one file, one document)"),
        (
            "a: &x 1\nb: 2",
            "f.yaml:1: anchors and aliases (&, *) are not read (write the value out at each place)",
        ),
        ("a: 1\nb: !secret x", "f.yaml:2: the tag !secret is not read (put text in quotes instead)"),
        ("%YAML 1.1\n---\na: yes", "f.yaml:2: % directives are not read (remove the line)"),
        ("[" * 100, "f.yaml:1: is nested deeper than 24 levels"),
        ("a:\n  - x\n b: 1", "f.yaml:3: is not valid YAML: "),
    ],
)
def test_text_that_cannot_be_read_is_refused(text, message):
    assert first_error(text).startswith(message)


def test_no_python_object_is_made_from_a_tag():
    assert "the tag tag:yaml.org,2002:python/object/apply:os.system is not read" in first_error(
        "a: !!python/object/apply:os.system [true]"
    )


def test_a_few_lines_of_aliases_do_not_grow():
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert "anchors and aliases" in first_error("\n".join(lines))


def test_a_key_given_twice_names_both_lines():
    assert first_error(COMMITTEE + "title: Another\n") == (
        "f.yaml:8: title: is given twice, first on line 3 (keep one of the two)"
    )


def test_a_key_given_twice_is_found_at_every_depth():
    text = COMMITTEE.replace("    title: Security\n", "    title: Security\n    title: Safety\n")
    assert first_error(text) == "f.yaml:7: roles.security.title: is given twice, first on line 6 (keep one of the two)"


def test_a_key_that_is_no_text_is_refused():
    assert first_error("? [a]\n: 1\n").startswith("f.yaml:1: a key must be plain text")


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1e999", "9007199254740993", "9" * 5000])
def test_a_number_that_json_cannot_carry_is_refused(number):
    source = parse_yaml(f"a: {number}", file="f.yaml")
    assert "is not a number that JSON can carry" in str(source.errors[0])
    assert len(str(source.errors[0])) < 200


def test_yaml_is_read_as_version_1_2():
    text = "a: [yes, on, 012, 0x1f, 0o17, 1_000, 1.5, 1e3, -5, null, ~, true, 2026-01-01, '1']"
    found = parse_yaml(text, file="f.yaml").value
    assert found == {
        "a": ["yes", "on", 12, 31, 15, 1000, 1.5, 1000.0, -5, None, None, True, "2026-01-01", "1"],
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("titel", "title"),
        ("role", "roles"),
        ("Name", "name"),
        ("schemas", "schema"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(written, meant):
    assert first_error(COMMITTEE + f"{written}: x\n") == (
        f"f.yaml:8: {written}: is not a known key (did you mean {meant!r}?)"
    )


def test_an_unknown_key_far_from_all_is_answered_with_what_is_known_there():
    assert first_error(COMMITTEE + "    zzz: 1\n") == (
        "f.yaml:8: roles.security.zzz: is not a known key (known here: title, members, abilities)"
    )


def test_a_missing_schema_is_answered_with_what_to_write():
    assert first_error(TARGET.replace("schema: model-approval/target/v1\n", ""), Target) == (
        "f.yaml:1: schema: is missing (write `schema: model-approval/target/v1`)"
    )


def test_a_missing_key_of_an_inner_block_is_told_at_the_block():
    assert first_error(COMMITTEE.replace("    title: Security\n", "")) == (
        "f.yaml:5: roles.security.title: is missing (write `title:`, see the schema beside the file)"
    )


def test_a_rule_over_several_keys_is_told_at_their_block():
    text = TARGET.replace("runtime: local", "runtime: kubernetes")
    assert first_error(text, Target) == "f.yaml:1: give the block `kubernetes` exactly when runtime is kubernetes"


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_pattern_of_the_schemas_has_words(kind):
    patterns = set(re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(json_schema_of(kind))))
    assert {json.loads(pattern) for pattern in patterns} <= described_patterns()


@pytest.mark.fuzz
@given(st.text(max_size=200))
def test_no_text_breaks_the_loader(text):
    told = errors_of(text)
    assert all(message.startswith("f.yaml") for message in told)


@pytest.mark.fuzz
@given(st.data())
def test_a_policy_with_any_line_damaged_is_read_or_refused_with_a_line(data):
    lines = (Path(__file__).parents[3] / "include/policies/fraud-scoring.yaml").read_text("utf-8").splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(
        st.sampled_from(["", "  ", "- x", "x: [", lines[at] + ": x", lines[at].upper(), "\t" + lines[at]])
    )
    told = errors_of("\n".join(lines))
    assert all(re.match(r"f\.yaml:\d+: ", message) for message in told)
