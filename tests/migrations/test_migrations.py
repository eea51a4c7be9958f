import logging
import subprocess
import sys
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from controller.errors import DatabaseError, StartupError
from controller.store import dialects, migrate, tables


def inspected(url: str) -> dict[str, Any]:
    """Everything about the schema that alembic's comparison leaves out."""
    built = dialects.build_engine(dialects.parse_url(url), is_writer=True)
    with built.connect() as connection:
        found = inspect(connection)
        names = sorted(set(found.get_table_names()) - {"alembic_version"})
        schema: dict[str, Any] = {
            name: {
                "checks": sorted((c["name"], c["sqltext"]) for c in found.get_check_constraints(name)),
                "foreign": sorted(
                    (k["name"], k["referred_table"], k["options"].get("ondelete")) for k in found.get_foreign_keys(name)
                ),
                "primary": found.get_pk_constraint(name),
                "indexes": sorted(
                    (i["name"], tuple(i["column_names"]), i["unique"], str(_where(i))) for i in found.get_indexes(name)
                ),
                "unique": sorted((u["name"], tuple(u["column_names"])) for u in found.get_unique_constraints(name)),
                "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)],
            }
            for name in names
        }
    built.dispose()
    return schema


def _where(index: dict[str, Any]) -> object:
    options = index.get("dialect_options", {})
    return options.get("sqlite_where", options.get("postgresql_where"))


def create_from_metadata(url: str) -> None:
    built = dialects.build_engine(dialects.parse_url(url), is_writer=True)
    tables.metadata.create_all(built)
    built.dispose()


def drop_all(url: str) -> None:
    built = dialects.build_engine(dialects.parse_url(url), is_writer=True)
    with built.begin() as connection:
        tables.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    built.dispose()


def test_there_is_one_head() -> None:
    script = ScriptDirectory.from_config(migrate._config())
    assert script.get_heads() == [migrate.head()]


def test_empty_to_head_equals_the_metadata(url: str) -> None:
    migrate.upgrade(url)
    assert migrate.differences(url) == []
    migrated = inspected(url)
    drop_all(url)
    create_from_metadata(url)
    assert migrated == inspected(url)
    assert set(migrated) == set(tables.metadata.tables)


def test_a_difference_is_found(url: str) -> None:
    migrate.upgrade(url)
    built = dialects.build_engine(dialects.parse_url(url), is_writer=True)
    with built.begin() as connection:
        connection.execute(text("ALTER TABLE quarantine ADD COLUMN stray TEXT"))
    built.dispose()
    assert migrate.differences(url) != []


def test_head_to_base_to_head(url: str) -> None:
    migrate.upgrade(url)
    before = inspected(url)
    migrate.downgrade(url, "base")
    assert migrate.current(url) is None
    assert inspected(url) == {}
    migrate.upgrade(url)
    assert inspected(url) == before


def test_the_last_birth_of_every_source_is_taken_over(url: str) -> None:
    migrate.upgrade(url, "0003")
    built = dialects.build_engine(dialects.parse_url(url), is_writer=True)
    with built.begin() as connection:
        insert = text(
            "INSERT INTO sources (id, boot_id, is_online, since, seen_at, birth_boot_id, birth_seq) "
            "VALUES (:id, 'b1', TRUE, '2026-01-01 00:00', '2026-01-02 00:00', :boot, :seq)"
        )
        connection.execute(insert, [{"id": "a", "boot": "b7", "seq": 5}, {"id": "b", "boot": "", "seq": None}])
    migrate.upgrade(url)
    with built.connect() as connection:
        found = connection.execute(text("SELECT source_id, boot_id, birth_seq, turn FROM processes")).all()
    built.dispose()
    assert found == [("a", "b7", 5, None)]


def test_upgrading_twice_changes_nothing(url: str) -> None:
    migrate.upgrade(url)
    before = inspected(url)
    migrate.upgrade(url)
    assert (migrate.current(url), inspected(url)) == (migrate.head(), before)


def test_a_failed_step_leaves_nothing(url: str) -> None:
    built = dialects.build_engine(dialects.parse_url(url), is_writer=True)
    with built.begin() as connection:
        # In the way of a table in the middle of the first step.
        connection.execute(text("CREATE TABLE streams (id TEXT)"))
    built.dispose()
    with pytest.raises(DatabaseError):
        migrate.upgrade(url)
    assert migrate.current(url) is None
    assert set(inspected(url)) == {"streams"}


def test_concurrent_upgrades_are_safe(url: str) -> None:
    program = f"from controller.store import migrate; migrate.upgrade({url!r})"
    upgrades = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
    outcomes = [(process.communicate(timeout=60)[1].decode(), process.returncode) for process in upgrades]
    assert outcomes == [("", 0)] * 3
    assert migrate.differences(url) == []


class TestCheckIsCurrent:
    def test_an_empty_database_is_refused(self, url: str) -> None:
        with pytest.raises(StartupError, match="empty"):
            migrate.check_is_current(url)

    def test_a_newer_database_is_refused(self, url: str) -> None:
        migrate.upgrade(url)
        built = dialects.build_engine(dialects.parse_url(url), is_writer=True)
        with built.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        built.dispose()
        with pytest.raises(StartupError, match="newer"):
            migrate.check_is_current(url)

    def test_the_head_is_accepted(self, url: str) -> None:
        migrate.upgrade(url)
        migrate.check_is_current(url)


def test_logging_is_left_alone(url: str) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("sqlalchemy").level)
    migrate.upgrade(url)
    assert (root.level, list(root.handlers), logging.getLogger("sqlalchemy").level) == before


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(StartupError, match="mysql"):
        migrate.upgrade("mysql://localhost/penstock")


def test_a_database_that_cannot_be_reached_is_reported() -> None:
    with pytest.raises(DatabaseError):
        migrate.current("postgresql://postgres@127.0.0.1:1/nowhere")
