"""A store that an older MLflow wrote survives: one command, a backup, nothing lost."""

import hashlib
import json
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import support
from .support import Process, Project
from .test_major import PAGE
from .tutorial import follow_in, read_section

pytestmark = pytest.mark.run
OLD = "3.10.1"
"""The MLflow that writes the store; it does not work with pandas 3 yet."""
# What computes is the same for both; the rest is what the old MLflow takes.
COMPUTING = r"(cloudpickle|kedro[\w-]*|numpy|scikit-learn|scipy)=="
FEW_TREES = "estimator.arguments.max_iter=5"
# Everything that MLflow tells of runs, versions and aliases.
LEDGER = """
import json, mlflow
client = mlflow.MlflowClient()
experiments = client.search_experiments()
(model,) = client.search_registered_models()
runs = {
    run.info.run_id: [run.info.status, run.data.params, run.data.metrics, run.data.tags]
    for experiment in experiments
    for run in client.search_runs([experiment.experiment_id])
}
versions = {
    str(version.version): [version.run_id, version.source, version.tags]
    for version in client.search_model_versions(f"name='{model.name}'")
}
aliases = client.get_registered_model(model.name).aliases
print(json.dumps({
    "experiments": sorted(each.name for each in experiments),
    "runs": runs,
    "versions": versions,
    "aliases": {alias: str(version) for alias, version in aliases.items()},
}))
"""
PREDICT = """
import json, sys
import mlflow, pandas as pd
rows = pd.read_csv(sys.argv[1]).drop(columns="application_id")
print(json.dumps({
    version: mlflow.pyfunc.load_model(f"models:/mortgage_approval/{version}")
    .predict(rows)["probability"].tolist()
    for version in ("1", "2")
}))
"""


def last_line(printed: str) -> Any:
    """Return the JSON that a script printed last."""
    return json.loads(printed.splitlines()[-1])


def ledger(project: Project) -> dict[str, Any]:
    """Return what a project's store holds, as the MLflow installed there tells it."""
    return last_line(project.ask(LEDGER))


def predictions(project: Project) -> dict[str, list[float]]:
    """Return what both versions answer where the project can't be imported."""
    rows = project.path / "data/05_model_input/held_out_instances.csv"
    return last_line(project.ask(PREDICT, str(rows), bare=True))


def digest(file: Path) -> str:
    """Return what changes with any byte of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def content(database: Path) -> str:
    """Return what changes with any table or row of a database."""
    with closing(sqlite3.connect(database)) as opened:
        return hashlib.sha256("\n".join(opened.iterdump()).encode()).hexdigest()


def backups(project: Project) -> list[Path]:
    """Return every file that the command left beside the database."""
    return sorted(project.path.glob("mlflow.db.*"))


def pin_old_mlflow(project: Path) -> None:
    """Declare the old MLflow, and pin only what computes."""
    settings = project / "pyproject.toml"
    text = settings.read_text("utf-8")
    for name, wanted in {"mlflow": f"=={OLD}", "pandas": ">=2.2,<3"}.items():
        text, found = re.subn(rf'"{name}>=[^"]*"', f'"{name}{wanted}"', text)
        assert found == 1, f"pyproject.toml declares {name} {found} times."
    settings.write_text(text, "utf-8")
    pins = (project / "constraints.txt").read_text("utf-8").splitlines()
    common = [pin for pin in pins if re.match(COMPUTING, pin)]
    (project / "constraints.txt").write_text("\n".join(common), "utf-8")


@dataclass
class Story:
    """A store of an old MLflow, and its project with the new one installed."""

    old: Project
    new: Project
    ledger: dict[str, Any]
    predictions: dict[str, list[float]]


@pytest.fixture(scope="module")
def story(
    render: Callable[..., Path],
    installed_project: Callable[..., Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """Two versions trained with the old MLflow; then the new one is installed."""
    folder = render()
    pin_old_mlflow(folder)
    support.lock(folder)
    python = support.interpreter(">=3.11,<3.14")
    assert python
    base = support.base_environment(folder, python)
    old = support.install(folder, base / "bin" / "python")
    support.commit_all(folder, "Start")
    version = "import mlflow; print(mlflow.__version__)"
    assert old.ask(version).strip() == OLD
    old.run("kedro", "run", timeout=600)
    old.run("kedro", "run", "--pipelines", "training", "--params", FEW_TREES)
    # As after an update: the same folder, with other dependencies.
    template = installed_project()
    current = tmp_path_factory.mktemp("current")
    new = copy_to(old, current, template.bare_python)
    for name in ("pyproject.toml", "constraints.txt", "uv.lock"):
        shutil.copy2(template.path / name, new.path)
    support.commit_all(new.path, "Install the new MLflow")
    new.run("uv", "sync", "--quiet")
    return Story(old, new, ledger(old), predictions(old))


def copy_to(project: Project, folder: Path, bare_python: Path) -> Project:
    """Copy a project with its stores, to be run by another environment."""
    return Project(project.path, project.package, bare_python).copy(folder)


@pytest.fixture
def project(story: Story, tmp_path: Path) -> Project:
    """A copy with the old store and the new MLflow, for one test."""
    return story.new.copy(tmp_path)


def unmoved(found: dict[str, Any], project: Project, original: Project) -> Any:
    """Return a ledger with the folder of the original instead of the copy's."""
    text = json.dumps(found)
    return json.loads(text.replace(str(project.path), str(original.path)))


def assert_survives(project: Project, story: Story) -> dict[str, Any]:
    """Migrate; fail unless everything is there afterwards, and in the backup."""
    before = content(project.path / "mlflow.db")
    made = json.loads(project.run("kedro", "model", "migrate", "--json").stdout)
    # MLflow would migrate it now, if the command had not.
    with closing(sqlite3.connect(project.path / "mlflow.db")) as database:
        found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    assert found == (made["steps"][-1]["revision"],)
    assert unmoved(ledger(project), project, story.old) == story.ledger
    assert predictions(project) == story.predictions
    backup = Path(made["backup"])
    assert backups(project) == [backup], "There is not one backup beside the store."
    assert re.fullmatch(r"mlflow\.db\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d", backup.name)
    assert content(backup) == before, "The backup is not the store of before."
    return made


def assert_refused(done: Process, *words: str) -> None:
    """Fail unless a command ended with one sentence that holds these words."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: "), line
    for word in words:
        assert word in line


def test_the_old_store_holds_what_has_to_survive(story: Story) -> None:
    """Else nothing would be compared."""
    assert set(story.ledger["versions"]) == {"1", "2"}
    assert story.ledger["aliases"] == {"champion": "1", "challenger": "2"}
    assert len(story.ledger["runs"]) == 4
    assert all(params for _, params, _, _ in story.ledger["runs"].values())
    one, two = story.predictions["1"], story.predictions["2"]
    assert len(one) == len(two) > 400
    assert one != two


def test_runs_versions_and_aliases_are_all_there_and_models_predict_the_same(
    project: Project, story: Story
) -> None:
    made = assert_survives(project, story)
    assert len(made["steps"]) >= 18
    assert made["rows"] == {
        "experiments": 2,
        "runs": 4,
        "logged_models": 2,
        "registered_models": 1,
        "model_versions": 2,
        "registered_model_aliases": 2,
    }
    # Work goes on; git does not see the backup.
    project.run("kedro", "run", "--pipelines", "training", "--params", FEW_TREES)
    listed = json.loads(project.run("kedro", "model", "list", "--json").stdout)
    assert [row["version"] for row in listed["versions"]] == ["3", "2", "1"]
    assert project.run("git", "status", "--porcelain").stdout == ""
    again = project.run("kedro", "model", "migrate")
    assert "nothing to do" in again.stdout
    assert backups(project) == [Path(made["backup"])]
    # With the backup copied over it and the old MLflow, all is as it was.
    shutil.copy2(made["backup"], project.path / "mlflow.db")
    back = copy_to(project, project.path.parent / "back", story.old.bare_python)
    assert unmoved(ledger(back), back, story.old) == story.ledger


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "run --pipelines training",
        "model list",
        "model promote",
        "model serve",
        "model trace",
        "prune plan",
    ],
)
def test_an_old_store_is_met_with_one_sentence_and_not_touched(
    story: Story, command: str
) -> None:
    before = digest(story.new.path / "mlflow.db")
    refused = story.new.run("kedro", *command.split(), check=False)
    assert_refused(refused, "older MLflow", "`kedro model migrate`")
    assert digest(story.new.path / "mlflow.db") == before


def test_mlflow_itself_would_have_changed_it_without_a_backup(
    project: Project,
) -> None:
    """Why the check comes before MLflow opens the store."""
    before = digest(project.path / "mlflow.db")
    project.ask(LEDGER)
    assert digest(project.path / "mlflow.db") != before
    assert backups(project) == []


def test_a_dry_run_names_the_steps_and_changes_nothing(story: Story) -> None:
    before = digest(story.new.path / "mlflow.db")
    shown = story.new.run("kedro", "model", "migrate", "--dry-run").stdout
    assert "4 runs" in shown
    assert "2 model versions" in shown
    told = story.new.run("kedro", "model", "migrate", "--dry-run", "--json").stdout
    steps = json.loads(told)["steps"]
    assert len(steps) >= 18
    assert all(step["what"] for step in steps)
    assert [f"{step['revision']}  {step['what']}" for step in steps] == (
        shown.splitlines()[1:]
    )
    assert digest(story.new.path / "mlflow.db") == before
    assert backups(story.new) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_migration_leaves_the_store_and_its_backup(
    project: Project, story: Story, number: signal.Signals
) -> None:
    before = digest(project.path / "mlflow.db")
    process = project.start("kedro", "model", "migrate")
    printed = []
    while "Backed up" not in "".join(printed):
        line = process.stdout.readline()
        assert line, f"It ended before it could be interrupted: {printed}"
        printed.append(line)
    process.send_signal(number)
    printed.append(process.communicate(timeout=60)[0])
    text = "".join(printed)
    assert process.returncode != 0
    (backup,) = [file for file in backups(project) if "migrating" not in file.name]
    assert f"Backed up to {backup}. To restore it, copy it over" in text
    if number != signal.SIGKILL:
        assert "Not migrated" in text
    assert digest(project.path / "mlflow.db") == before
    assert content(backup) == content(project.path / "mlflow.db")
    project.run("kedro", "model", "migrate")
    assert unmoved(ledger(project), project, story.old) == story.ledger
    assert [f for f in backups(project) if "migrating" in f.name] == []


def test_a_database_in_use_is_refused(project: Project) -> None:
    database = project.path / "mlflow.db"
    before = digest(database)
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = project.run("kedro", "model", "migrate", check=False)
    assert_refused(refused, "is in use", "kedro mlflow ui")
    assert digest(database) == before
    assert backups(project) == []


def test_nobody_writes_while_it_is_migrated(project: Project) -> None:
    process = project.start("kedro", "model", "migrate")
    assert "Backed up" in process.stdout.readline()
    with (
        closing(sqlite3.connect(project.path / "mlflow.db", timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("DELETE FROM model_versions")
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_newer_store_is_refused_by_every_command(project: Project) -> None:
    with closing(sqlite3.connect(project.path / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        database.commit()
    for command in ("migrate", "list"):
        refused = project.run("kedro", "model", command, check=False)
        assert_refused(refused, "newer MLflow", "ffffffffffff")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://127.0.0.1:9", ["runs that server", "mlflow db upgrade"]),
        ("postgresql://db.example.org/mlflow", ["runs that server"]),
        ("sqlite:////nowhere/mlflow.db", ["no /nowhere/mlflow.db", "kedro run"]),
        ("sqlite:///pyproject.toml", ["can't be used as SQLite"]),
    ],
    ids=["server", "other database", "absent", "no database"],
)
def test_what_can_not_be_migrated_here_gets_one_sentence(
    story: Story, uri: str, words: list[str]
) -> None:
    own = story.new.path / "conf" / "local" / "mlflow.yml"
    own.write_text(f"server:\n  mlflow_tracking_uri: {uri}\n")
    try:
        refused = story.new.run("kedro", "model", "migrate", check=False)
    finally:
        own.unlink()
    assert_refused(refused, *words)


def test_its_help_shows_an_example(story: Story) -> None:
    shown = story.new.run("kedro", "model", "migrate", "--help").stdout
    assert "kedro model migrate --dry-run" in shown


def test_the_commands_of_the_upgrade_page_work(project: Project) -> None:
    printed = follow_in(project.path, read_section(PAGE, "MLflow"))
    assert "| challenger |" in " ".join(printed.split())
    assert len(backups(project)) == 1


LOSE = """
    with closing(sqlite3.connect(work)) as broken:
        broken.execute("DELETE FROM model_versions WHERE version = 1")
        broken.commit()
"""
BREAKS = {
    "no backup": [
        (
            '    return {**done, "backup"',
            '    backup.unlink()\n    return {**done, "backup"',
        )
    ],
    "an empty backup": [("database.backup(copy)", "pass")],
    "a version lost, and noticed": [("upgrade(work)\n", f"upgrade(work)\n{LOSE}")],
    "a version lost in silence": [
        ("upgrade(work)\n", f"upgrade(work)\n{LOSE}"),
        ("if lost := ", "if not rows and "),
    ],
    "nothing put in place": [("migrated.backup(database)", "pass")],
}


@pytest.mark.parametrize("changes", BREAKS.values(), ids=BREAKS)
def test_a_migration_that_loses_something_would_be_noticed(
    project: Project, story: Story, changes: list[tuple[str, str]]
) -> None:
    file = project.path / "src" / project.package / "mlops/migration/migrate.py"
    text = file.read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text, "utf-8")
    with pytest.raises(AssertionError):
        assert_survives(project, story)
