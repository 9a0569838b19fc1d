"""The review database's migrations on SQLite and Postgres: up, down, twice, at once, and in step with the models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy

from model_approval.adapters.sql.engine import dispose, engine_for
from model_approval.adapters.sql.migrations import (
    current_revision,
    differences,
    downgrade_database,
    newest_revision,
    require_current,
    upgrade_database,
)
from model_approval.adapters.sql.reviews import SqlReviewStore
from model_approval.domain.errors import OutsideSystemError
from tests.support.builders import NOW, a_request
from tests.support.databases import new_database

pytestmark = pytest.mark.integration


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path / 'new folder' / 'reviews.sqlite'}"
    else:
        found = new_database(request.getfixturevalue("postgres_url"))
    yield found
    dispose(found)


def our_tables(url: str) -> set[str]:
    return {name for name in sqlalchemy.inspect(engine_for(url)).get_table_names() if name.startswith("mrm_")}


def test_migrations_and_models_agree(url):
    upgrade_database(url)
    assert differences(url) == []


def test_a_difference_between_models_and_tables_is_seen(url):
    upgrade_database(url)
    with engine_for(url).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE mrm_votes ADD COLUMN surplus INTEGER")
    assert "surplus" in repr(differences(url))


def test_upgrading_twice_changes_nothing(url):
    assert upgrade_database(url) == upgrade_database(url) == newest_revision()


def test_every_migration_can_be_taken_back_and_made_again(url):
    upgrade_database(url)
    downgrade_database(url, "base")
    assert (our_tables(url), current_revision(url)) == (set(), None)
    upgrade_database(url)
    assert "mrm_promotions" in our_tables(url)


def test_processes_that_start_together_migrate_once(url):
    with ThreadPoolExecutor(4) as starters:
        revisions = list(starters.map(lambda _: upgrade_database(url), range(4)))
    assert revisions == [newest_revision()] * 4
    assert differences(url) == []


def test_tables_of_others_are_left_alone(url):
    upgrade_database(url)
    with engine_for(url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE dag_run (id INTEGER PRIMARY KEY)")
    assert differences(url) == []
    downgrade_database(url, "base")
    assert "dag_run" in sqlalchemy.inspect(engine_for(url)).get_table_names()


def test_a_start_on_an_empty_database_says_which_command_to_run(url):
    with pytest.raises(OutsideSystemError, match=r"no tables of ours yet.*run `model-approval db upgrade`") as caught:
        require_current(url)
    assert not caught.value.retryable


def test_a_start_on_a_current_database_goes_on(url):
    upgrade_database(url)
    require_current(url)
    assert current_revision(url) == newest_revision()


def test_a_store_on_an_empty_database_says_which_command_to_run(tmp_path):
    url = f"sqlite:///{tmp_path / 'reviews.sqlite'}"
    with pytest.raises(OutsideSystemError, match="run `model-approval db upgrade`"):
        SqlReviewStore(url).add(a_request(), at=NOW)
    dispose(url)


def test_an_url_that_cannot_be_used_is_not_repeated_in_the_error():
    with pytest.raises(OutsideSystemError, match="MODEL_APPROVAL_DATABASE_URL") as caught:
        upgrade_database("mystery://user:s3cret@host/reviews")
    assert "s3cret" not in str(caught.value)


def test_airflow_migrates_the_review_database_and_never_drops_it(tmp_path, monkeypatch):
    from model_approval.operators.db_manager import ReviewDBManager

    monkeypatch.setenv("MODEL_APPROVAL_HOME", str(tmp_path))
    manager = ReviewDBManager(session=None)
    assert not manager.check_migration()
    manager.initdb()
    assert manager.check_migration()
    url = f"sqlite:///{tmp_path / 'reviews.sqlite'}"
    promotion = SqlReviewStore(url).add(a_request(), at=NOW)
    manager.resetdb()
    assert SqlReviewStore(url).get(promotion.id) == promotion
    dispose(url)
