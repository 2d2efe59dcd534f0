"""Back a database up, migrate a copy of it, and put the copy in its place at once."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import BlueprintError
from .schema import database_path, missing_steps, opened, revision_of

# What must be there afterwards.
KEPT = (
    *("experiments", "runs", "logged_models"),
    *("registered_models", "model_versions", "registered_model_aliases"),
)


def migrate(uri: str, dry_run: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Bring a local database to the schema of the installed MLflow.

    Returns its path, the steps, the backup's path (None if nothing was done), and how
    many rows of each kind are there.

    Raises:
        BlueprintError: if the store is no file here, is absent, in use, or newer than
            the installed MLflow, or if MLflow can't migrate it.
    """
    path = database_path(uri)
    if path is None:
        raise BlueprintError(
            f"{uri} is no database of this project: whoever runs that server migrates "
            "its store (`mlflow db upgrade`)."
        )
    if not path.is_file():
        raise BlueprintError(f"There is no {path} yet: `kedro run` makes it.")
    with opened(path) as database:
        steps = missing_steps(path, revision_of(database))
        done = {"database": str(path), "steps": steps, "backup": None}
        if dry_run or not steps:
            return {**done, "rows": count_rows(database)}
        # Nobody else comes in until the connection is closed.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        database.commit()
        backup = path.with_name(f"{path.name}.{datetime.now():%Y-%m-%dT%H-%M-%S}")
        with closing(sqlite3.connect(backup)) as copy:
            database.backup(copy)
        try:
            say(f"Backed up to {backup}. To restore it, copy it over {path}.")
            rows = migrate_copy(database, path, backup)
        except BaseException:
            say(f"Not migrated: {path} is as it was, and {backup} its copy.")
            raise
    return {**done, "backup": str(backup), "rows": rows}


def migrate_copy(
    database: sqlite3.Connection, path: Path, backup: Path
) -> dict[str, int]:
    """Migrate a copy; if it is whole, replace the database by it in one transaction.

    Whatever ends this early, the database is the old one or the new one.
    """
    work = backup.with_name(f"{backup.name}.migrating")
    try:
        shutil.copy2(backup, work)
        upgrade(work)
        with opened(work) as migrated:
            before, rows = count_rows(database), count_rows(migrated)
            if lost := [kind for kind in before if rows.get(kind) != before[kind]]:
                raise BlueprintError(f"MLflow's migration lost {', '.join(lost)}.")
            migrated.backup(database)
        return rows
    finally:
        for file in path.parent.glob(f"{path.name}.*.migrating*"):
            file.unlink()


def upgrade(path: Path) -> None:
    """Let MLflow migrate a database, in a process of its own."""
    command = ("-m", "mlflow", "db", "upgrade", f"sqlite:///{path.as_posix()}")
    done = subprocess.run(  # noqa: S603 (no shell, and nothing that others wrote)
        [sys.executable, *command], capture_output=True, text=True
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise BlueprintError(f"MLflow could not migrate the database: {reason}")


def count_rows(database: sqlite3.Connection) -> dict[str, int]:
    """Count the rows of each kind that the schema has."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    return {
        kind: database.execute(f"SELECT count(*) FROM {kind}").fetchone()[0]  # noqa: S608
        for kind in KEPT
        if kind in tables
    }


def describe(made: dict[str, Any]) -> str:
    """Return what was done, or would be, for people."""
    path, steps = made["database"], made["steps"]
    if not steps:
        return f"{path} has the schema of the installed MLflow: nothing to do."
    rows = ", ".join(
        f"{n} {kind.replace('_', ' ')}" for kind, n in made["rows"].items()
    )
    if made["backup"]:
        return f"Migrated {path} by {len(steps)} steps. All is there: {rows}."
    lines = [f"{step['revision']}  {step['what']}" for step in steps]
    head = f"{path} lacks {len(steps)} steps ({rows}). `kedro model migrate` does them:"
    return "\n".join([head, *lines])
