"""Where runs and models live: absolute addresses, whatever the working directory."""

import os
from pathlib import Path

from .errors import BlueprintError


def project_path() -> Path:
    """Return the project's folder, or the working directory of a packaged one."""
    here = Path(__file__).resolve().parents[3]
    return here if (here / "pyproject.toml").is_file() else Path.cwd()


def sqlite_uri(name: str) -> str:
    """Return the URI of a database file in the project's folder."""
    return f"sqlite:///{(project_path() / name).as_posix()}"


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
