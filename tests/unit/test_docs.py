"""What the documents promise exists, and what exists is in the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_approval.cli import make_app
from tests.support.reference import DOCS, PAGES

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES_OF_OURS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("file", sorted(PAGES))
def test_the_reference_pages_are_current(file: str) -> None:
    assert (DOCS / file).read_text() == PAGES[file](), "run: python -m tests.support.reference"


@pytest.mark.parametrize("file", sorted(PAGES))
def test_no_line_of_the_reference_is_left_without_words(file: str) -> None:
    wordless = [
        line for line in (DOCS / file).read_text().splitlines() if line.startswith("| `") and line.endswith("|  |")
    ]
    assert wordless == []


def test_every_command_in_the_readme_exists() -> None:
    commands = {
        tuple(words.split()) for words in re.findall(r"model-approval ((?:policy|audit|db) \w+|[a-z-]+)", README)
    }
    for words in commands:
        result = CliRunner().invoke(make_app(), [*words, "--help"])
        assert result.exit_code == 0, words


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        name
        for page in PAGES_OF_OURS
        for name in re.findall(r"\bmake ([a-z-]+)\b`|^make ([a-z-]+)$", page.read_text(), re.M)
    }
    assert {one or other for one, other in named} <= targets


@pytest.mark.parametrize("page", PAGES_OF_OURS, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_environment_variable_in_the_documents_is_a_setting() -> None:
    known = set(re.findall(r"MODEL_APPROVAL_[A-Z0-9_]+", (DOCS / "settings.md").read_text()))
    named = {
        name for page in PAGES_OF_OURS for name in re.findall(r"MODEL_APPROVAL_[A-Z0-9_]+[A-Z0-9]", page.read_text())
    }
    assert named <= known
