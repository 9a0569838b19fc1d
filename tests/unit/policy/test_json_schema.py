"""The JSON Schemas that editors use: current, and of one mind with the loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from model_approval.policy.json_schema import schema_files, write_schemas

pytestmark = pytest.mark.unit

SHIPPED = Path(__file__).parents[3] / "include"
YAML_FILES = sorted(
    path for folder in ("policies", "committees", "targets") for path in (SHIPPED / folder).glob("*.yaml")
)


@pytest.mark.parametrize("name", schema_files())
def test_the_committed_schema_is_current(name):
    advice = "write it anew: python -m model_approval.policy.json_schema"
    assert (SHIPPED / name).read_text("utf-8") == schema_files()[name], advice


@pytest.mark.parametrize("name", schema_files())
def test_a_schema_is_itself_valid(name):
    Draft202012Validator.check_schema(json.loads(schema_files()[name]))


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.stem)
def test_a_shipped_file_satisfies_the_schema_named_in_its_first_line(path):
    first, text = path.read_text("utf-8").split("\n", 1)
    named = first.removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((path.parent / named).read_text("utf-8"))
    assert list(Draft202012Validator(schema).iter_errors(YAML(typ="safe").load(text))) == []


def test_a_schema_refuses_an_unknown_key():
    schema = json.loads(schema_files()["targets/target.schema.json"])
    wrong = {"schema": "model-approval/target/v1", "name": "local", "runtime": "local", "runtim": "local"}
    assert [error.validator for error in Draft202012Validator(schema).iter_errors(wrong)] == ["additionalProperties"]


def test_only_files_that_differ_are_written(tmp_path):
    assert {path.name for path in write_schemas(tmp_path)} == {Path(name).name for name in schema_files()}
    assert write_schemas(tmp_path) == []
