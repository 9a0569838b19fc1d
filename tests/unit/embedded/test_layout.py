"""The state folder: private, emptied only when it is ours, secrets kept from start to start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_approval.domain.errors import OutsideSystemError, PolicyError
from model_approval.embedded.credentials import load_secrets
from model_approval.embedded.layout import Layout
from model_approval.embedded.lock import hold
from model_approval.embedded.people import PEOPLE

pytestmark = pytest.mark.unit


@pytest.fixture
def layout(tmp_path) -> Layout:
    made = Layout(tmp_path / "state")
    made.make()
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_and_secrets_are_for_the_owner_alone(layout):
    load_secrets(layout)

    assert mode(layout.root) == 0o700
    assert mode(layout.secrets) == 0o600
    assert mode(layout.passwords) == 0o600


def test_secrets_are_the_same_at_the_next_start(layout):
    first = load_secrets(layout)

    assert load_secrets(layout) == first


def test_everybody_has_a_password_of_their_own_where_airflow_reads_it(layout):
    passwords = load_secrets(layout).passwords

    assert json.loads(layout.passwords.read_text()) == passwords
    assert set(passwords) == {person.name for person in PEOPLE}
    assert len(set(passwords.values())) == len(PEOPLE)


def test_secrets_that_cannot_be_read_name_the_file_and_the_way_out_but_no_secret(layout):
    layout.secrets.write_text('{"fernet_key": "hush"}')

    with pytest.raises(PolicyError, match=r"secrets\.json.*remove the whole state folder") as refused:
        load_secrets(layout)

    assert "hush" not in str(refused.value)


def test_a_folder_that_holds_something_else_is_never_emptied(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(OutsideSystemError, match="holds something else"):
        Layout(tmp_path).require_ours()


def test_an_installation_is_emptied_but_for_its_lock(layout):
    with hold(layout.lock):
        load_secrets(layout)
        layout.require_ours()
        layout.clear()

        assert [path.name for path in layout.root.iterdir()] == ["stack.lock"]


def test_a_second_start_in_the_same_folder_is_refused_and_names_the_first(layout):
    with (
        hold(layout.lock),
        pytest.raises(OutsideSystemError, match=r"in use by process \d+.*--state-dir"),
        hold(layout.lock),
    ):
        pytest.fail("two starts hold one folder")


def test_the_folder_is_free_again_after_the_start_ended(layout):
    with hold(layout.lock) as first:
        pass
    with hold(layout.lock) as second:
        assert first != second


def test_a_lock_file_cut_off_by_a_crash_does_not_stop_the_next_start(layout):
    layout.lock.write_text('{"pid": 12')

    with hold(layout.lock) as stack_id:
        assert len(stack_id) == 16
