"""What the installed MLflow and Python work with: databases, and logged models."""

import platform
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import BlueprintError

SECONDS_TO_UNLOCK = 5
LINK = re.compile(r'^(down_revision|revision)\b.*= "(\w+)"', re.MULTILINE)
Step = dict[str, str]


def database_path(uri: str) -> Path | None:
    """Return the SQLite file that a store's address names, None for another store."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return Path(name).absolute() if name and name != ":memory:" else None


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that exists; what SQLite refuses becomes one sentence."""
    uri = f"{path.as_uri()}?mode=rw"
    try:
        database = sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_UNLOCK)
        with closing(database):
            yield database
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise BlueprintError(
                f"{path} is in use: end what works with it (kedro run, kedro mlflow "
                "ui, kedro model serve), and try again."
            ) from error
        raise BlueprintError(f"{path} can't be used as SQLite: {error}.") from error


def revision_of(database: sqlite3.Connection) -> str | None:
    """Return the revision of a database's schema, None if MLflow has made none yet."""
    named = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
    if not database.execute(named).fetchone():
        return None
    found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


@cache
def known_steps() -> list[Step]:
    """Return what the installed MLflow can do to a schema, in no order.

    Each has a ``revision``, the one ``before`` it (empty for the first), and ``what``
    it does. Read as texts: importing them, as MLflow does, takes half a second.
    """
    folder = files("mlflow.store").joinpath("db_migrations", "versions")
    steps = []
    for file in folder.iterdir():
        text = file.read_text("utf-8") if file.name.endswith(".py") else ""
        if links := dict(LINK.findall(text)):
            what = text.strip().lstrip('"').partition("\n")[0].strip()
            before = links.get("down_revision", "")
            steps.append(Step(revision=links["revision"], before=before, what=what))
    return steps


def missing_steps(path: Path, revision: str | None) -> list[Step]:
    """Return the steps that a database lacks, the first one first.

    Raises:
        BlueprintError: if the installed MLflow does not know the database's revision.
    """
    if revision is None:
        return []
    if revision not in {step["revision"] for step in known_steps()}:
        raise BlueprintError(
            f"{path} was written by a newer MLflow than the installed "
            f"{version('mlflow')}, which does not know its schema {revision}: install "
            "the newer one again."
        )
    after = {step["before"]: step for step in known_steps()}
    steps: list[Step] = []
    while step := after.get(revision):
        steps.append(step)
        revision = step["revision"]
    return steps


def require_current_schema(uri: str) -> None:
    """Refuse a local database of another MLflow, before MLflow opens it.

    MLflow would change some of them at once, without a backup, and refuse others.
    """
    path = database_path(uri)
    if path is None or not path.is_file():
        return
    with opened(path) as database:
        revision = revision_of(database)
    if missing_steps(path, revision):
        raise BlueprintError(
            f"{path} was written by an older MLflow than the installed "
            f"{version('mlflow')}: `kedro model migrate` backs it up and migrates it."
        )


def load_logged(uri: str, **options: Any) -> Any:
    """Load a model as MLflow does, unless it is a pipeline that another Python logged.

    It holds its code as that Python's bytecode, on which this one fails or crashes.
    """
    from mlflow.models import Model
    from mlflow.pyfunc import load_model

    flavor = Model.load(uri).flavors.get("python_function", {})
    theirs, ours = flavor.get("python_version", ""), platform.python_version()
    differ = theirs.split(".")[:2] != ours.split(".")[:2]
    if differ and "python_model" in flavor:
        raise BlueprintError(
            f"{uri} was logged under Python {theirs}, and Python {ours} can't run its "
            f"code: use it under {theirs}, or train a new version here."
        )
    return load_model(uri, **options)
