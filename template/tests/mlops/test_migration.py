"""The schema of the installed MLflow is known without importing its migrations."""

import sqlite3
from contextlib import closing
from importlib.resources import files

import pytest
from alembic.script import ScriptDirectory


@pytest.fixture
def schema(module):
    """Return the module that compares schemas."""
    return module("mlops.migration.schema")


def test_the_steps_are_those_that_alembic_knows(schema):
    scripts = ScriptDirectory(str(files("mlflow.store") / "db_migrations"))
    found = {step["revision"]: step["before"] for step in schema.known_steps()}
    expected = {s.revision: s.down_revision or "" for s in scripts.walk_revisions()}
    assert found == expected


def test_a_store_that_was_written_now_is_current(schema, sandbox, trained):
    uri = f"sqlite:///{(sandbox.folder / 'mlflow.db').as_posix()}"
    schema.require_current_schema(uri)


def test_an_older_store_is_refused_with_the_command_that_migrates(
    schema, module, tmp_path
):
    first = next(step for step in schema.known_steps() if not step["before"])
    with closing(sqlite3.connect(tmp_path / "old.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        statement = "INSERT INTO alembic_version VALUES (?)"
        database.execute(statement, (first["revision"],))
        database.commit()
    with pytest.raises(module("mlops.errors").BlueprintError, match="model migrate"):
        schema.require_current_schema(f"sqlite:///{(tmp_path / 'old.db').as_posix()}")
