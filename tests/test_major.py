"""A major version may rename and migrate: visibly, by consent, and losing no edit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier.errors import UnsafeTemplateError

from .support import (
    ROOT,
    Project,
    commit_all,
    git,
    render_template,
    run,
    update_project,
)
from .test_questionnaire import stored_answers
from .test_switching import conflicts, deleted
from .tutorial import follow_in, read_section

pytestmark = pytest.mark.run

PAGE = (ROOT / "docs" / "major-upgrades.md").read_text("utf-8")
SOURCES = "src/mortgage_approval"
OLD, NEW = f"{SOURCES}/progress.py", f"{SOURCES}/reporting.py"
OURS = "# Our own line\n"
WHY = "Run names get a prefix, which a command writes into your files."
MIGRATION = {
    "version": "v1.0.0",
    "when": "{{ _stage == 'before' }}",
    "command": "touch migrated.txt",
}


@pytest.fixture
def release(template: Path, tmp_path: Path) -> Path:
    """A repository of the template that a test may add versions to."""
    git("clone", "--quiet", str(template), "template", cwd=tmp_path)
    return tmp_path / "template"


@pytest.fixture
def project(release: Path, tmp_path: Path) -> Path:
    """A committed project of the version before, in which a file was edited."""
    folder = render_template(release, tmp_path / "project")
    text = (folder / OLD).read_text("utf-8")
    head, line, tail = text.partition("logger = ")
    assert line
    (folder / OLD).write_text(f"{head}{OURS}{line}{tail}", "utf-8")
    commit_all(folder, "Edit a file of the template")
    return folder


def rename(release: Path) -> None:
    """Give a file of the template another name and another line."""
    sources = release / "template" / "src" / "{{ package_name }}"
    text = (sources / "progress.py").read_text("utf-8")
    (sources / "progress.py").unlink()
    (sources / "reporting.py").write_text(f"{text}# New in 1.0\n", "utf-8")
    settings = sources / "settings.py"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("from .progress", "from .reporting"), "utf-8")


def publish(release: Path, version: str, **settings: Any) -> None:
    """Commit what changed, with these settings in copier.yml, as a version."""
    if settings:
        with (release / "copier.yml").open("a", encoding="utf-8") as file:
            file.write("\n" + yaml.safe_dump(settings))
    commit_all(release, version)
    git("tag", version, cwd=release)


def status(project: Path) -> tuple[str, str]:
    """Return the commit, and what differs from it."""
    return (
        git("rev-parse", "HEAD", cwd=project),
        git("status", "--porcelain", cwd=project),
    )


# Renames ------------------------------------------------------------------------------


def test_a_rename_that_was_done_as_the_page_says_loses_no_edit(
    release: Path, project: Path
) -> None:
    rename(release)
    publish(release, "v1.0.0")
    follow_in(project, read_section(PAGE, "The template"))
    assert stored_answers(project)["_commit"] == "v1.0.0"
    text = (project / NEW).read_text("utf-8")
    assert OURS in text
    assert "# New in 1.0" in text
    assert not (project / OLD).exists()
    settings = (project / SOURCES / "settings.py").read_text("utf-8")
    assert "from .reporting" in settings
    # A conflict shows; a file without edits of ours has none.
    assert conflicts(project) == {NEW}


def test_a_rename_of_a_file_that_nobody_edited_leaves_no_conflict(
    release: Path, tmp_path: Path
) -> None:
    project = render_template(release, tmp_path / "plain")
    commit_all(project, "Start")
    rename(release)
    publish(release, "v1.0.0")
    update_project(project)
    assert conflicts(project) == set()
    assert (project / NEW).is_file()
    assert not (project / OLD).exists()


def test_without_the_move_the_edit_would_be_lost_in_silence(
    release: Path, project: Path
) -> None:
    """Why the page asks for it, and why paths change in major versions only."""
    rename(release)
    publish(release, "v1.0.0")
    update_project(project)
    assert conflicts(project) == set()
    assert deleted(project) == {OLD}
    assert OURS not in (project / NEW).read_text("utf-8")


# Migrations ---------------------------------------------------------------------------


def test_a_migration_asks_for_trust_and_changes_nothing_without(
    release: Path, project: Path
) -> None:
    publish(release, "v1.0.0", _migrations=[MIGRATION], _message_before_update=WHY)
    before = status(project)
    with pytest.raises(UnsafeTemplateError, match="migrations"):
        update_project(project)
    assert status(project) == before
    refused = run("copier", "update", "--defaults", cwd=project, check=False)
    assert refused.returncode != 0
    assert "--trust" in refused.stderr
    assert status(project) == before
    done = run("copier", "update", "--defaults", "--trust", cwd=project)
    assert WHY in done.stderr
    assert (project / "migrated.txt").is_file()
    assert stored_answers(project)["_commit"] == "v1.0.0"
    assert OURS in (project / OLD).read_text("utf-8")


def test_an_update_that_crosses_no_migration_needs_no_trust(
    release: Path, project: Path, tmp_path: Path
) -> None:
    publish(release, "v0.2.0")
    publish(release, "v1.0.0", _migrations=[MIGRATION])
    publish(release, "v1.1.0")
    update_project(project, "v0.2.0")
    assert stored_answers(project)["_commit"] == "v0.2.0"
    # A fresh copy crosses none, either.
    fresh = render_template(release, tmp_path / "fresh", "v1.0.0")
    commit_all(fresh, "Start")
    update_project(fresh)
    assert stored_answers(fresh)["_commit"] == "v1.1.0"
    assert not (fresh / "migrated.txt").exists()


def test_a_migration_without_a_version_would_make_every_update_unsafe(
    release: Path, project: Path
) -> None:
    """Why a migration names its version."""
    nameless = {k: v for k, v in MIGRATION.items() if k != "version"}
    publish(release, "v1.0.0", _migrations=[nameless])
    update_project(project, unsafe=True)
    commit_all(project, "Update")
    publish(release, "v1.1.0")
    with pytest.raises(UnsafeTemplateError):
        update_project(project)


# Kedro and Python ---------------------------------------------------------------------


def test_kedro_is_upgraded_as_the_page_says(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    printed = follow_in(project.path, read_section(PAGE, "Kedro"))
    assert "| champion | challenger |" in " ".join(printed.split())


def test_another_python_starts_with_a_champion_of_its_own_as_the_page_says(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    printed = follow_in(project.path, read_section(PAGE, "Python"))
    assert project.run("python", "-V").stdout.startswith("Python 3.12.")
    assert "| 1 | champion |" in " ".join(printed.split())


@pytest.mark.parametrize(
    "command",
    ["run --pipelines batch_inference", "model serve", "run --pipelines evaluation"],
)
def test_a_version_of_another_python_is_refused_in_one_sentence(
    on_another_python: Project, command: str
) -> None:
    """Why the page names another registered model."""
    asked = on_another_python.run("kedro", *command.split(), check=False)
    printed = " ".join((asked.stdout + asked.stderr).split())
    assert asked.returncode == 1, printed
    assert "was logged under Python 3.11" in printed
    assert "Traceback" not in printed


def test_another_python_would_not_run_its_code(on_another_python: Project) -> None:
    """Why it is refused before it is loaded: it may well end the process."""
    code = "import mlflow; m = mlflow.pyfunc.load_model('models:/mortgage_approval/1');"
    code += "print(m.predict(m.input_example))"
    store = on_another_python.path / "mlflow.db"
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
    assert on_another_python.run("python", "-c", code, check=False, env=env).returncode


@pytest.fixture(scope="module")
def on_another_python(
    worked_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A project whose champion was logged under the Python of before."""
    project = worked_project().copy(tmp_path_factory.mktemp("another"))
    shutil.rmtree(project.path / ".venv")
    project.run("uv", "sync", "--quiet", "--python", "3.12", timeout=600)
    return project
