"""Where runs and models live: absolute addresses, whatever the working directory."""

import functools
import os
from pathlib import Path
from typing import Any

from .errors import BlueprintError


def project_path() -> Path:
    """Return the project's folder, or the working directory of a packaged one."""
    here = Path(__file__).resolve().parents[3]
    return here if (here / "pyproject.toml").is_file() else Path.cwd()


def sqlite_uri(name: str) -> str:
    """Return the URI of a database file in the project's folder."""
    path = project_path() / name
    if not path.exists():
        create_without_waiting(path)
    return f"sqlite:///{path.as_posix()}"


@functools.cache
def create_without_waiting(path: Path) -> None:
    """Let this process, which will create a database, not wait for the disk.

    MLflow makes a new one in more than a thousand writes, each waited for. Until the
    process ends, a power cut could spoil a database that held nothing before.
    """
    import sqlite3

    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def switch_off(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            (_, _, file), *_ = connection.execute("PRAGMA database_list")
            if file and Path(file) == path:
                connection.execute("PRAGMA synchronous = OFF")


def folder_uri(name: str) -> str:
    """Return the URI of a folder in the project's folder."""
    return (project_path() / name).as_uri()


def environment_variable(name: str, default: str | None = None) -> str:
    """Return an environment variable, or refuse with the way to set it."""
    value = os.environ.get(name) or default
    if value is None:
        raise BlueprintError(
            f"{name} is not set: `export {name}=https://mlflow.example.org`, or "
            "`sqlite:////tmp/mlflow.db` to try it without a server."
        )
    return value


RESOLVERS = {
    "project_sqlite": sqlite_uri,
    "project_folder": folder_uri,
    "env": environment_variable,
}
