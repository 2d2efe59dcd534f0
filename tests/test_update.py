"""An update from every release keeps what a team did, and brings what is new."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.archive import released

from . import support
from .edits import EDITS, append, package_of, replace
from .history import (
    LATER,
    check_conflicts,
    make_history,
    next_version,
    released_later,
    tracked,
    unmerged,
)
from .promise import broken, update
from .support import Project, git
from .tutorial import read_section

pytestmark = pytest.mark.run

PROFILES: dict[str, dict[str, Any]] = {
    "essentials": {"profile": "essentials", "ci": "azure"},
    "production": {},
    "regulated": {"profile": "regulated", "tracking": "server", "ci": "gitlab"},
    "kubernetes": {
        **{"profile": "custom", "serving": "kubernetes", "tracking": "server"},
        **{"task": "regression"},
    },
}


def case(release: str, profile: str, edit: str, chosen: bool) -> Any:
    """Return a combination; what is not chosen is left to `make test-all`."""
    marks = () if chosen else (pytest.mark.full,)
    name = f"{release}-{profile}-{edit.replace(' ', '_')}"
    return pytest.param(release, profile, edit, marks=marks, id=name)


def once(profile: str, edit: str) -> bool:
    """Choose each edit once, by turns in each profile."""
    return list(EDITS).index(edit) % len(PROFILES) == list(PROFILES).index(profile)


COMBINATIONS = list(itertools.product(released(), PROFILES, EDITS))
MATRIX = [case(*one, chosen=once(*one[1:])) for one in COMBINATIONS]
WORKING = [
    case(*one, chosen=one == (released()[0], "production", "usual work"))
    for one in COMBINATIONS
    if one[2] != "deleted example"  # which leaves nothing to train on
]


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the template in which every release is tagged."""
    return make_history(tmp_path_factory.mktemp("history"))


# The promise --------------------------------------------------------------------------
@pytest.mark.parametrize(("release", "profile", "edit"), MATRIX)
def test_an_update_loses_no_edit_and_brings_what_is_new(
    history: Path, tmp_path: Path, release: str, profile: str, edit: str
) -> None:
    answers = PROFILES[profile]
    found = broken(history, release, next_version(), EDITS[edit], tmp_path, **answers)
    assert found == []


@pytest.mark.parametrize("release", released())
def test_a_line_that_both_sides_changed_is_a_conflict_that_ci_sees(
    history: Path,
    tmp_path: Path,
    installed_project: Callable[..., Project],
    release: str,
) -> None:
    line = "line-length = 88"

    def theirs(template: Path) -> None:
        replace(template / "template/pyproject.toml.jinja", line, "line-length = 90")

    def ours(project: Path) -> None:
        replace(project / "pyproject.toml", line, "line-length = 100")

    template = released_later(history, tmp_path, theirs)
    done = update(template, release, LATER, ours, tmp_path)
    assert unmerged(done.folder) == {"pyproject.toml"}
    text = (done.folder / "pyproject.toml").read_text()
    assert "line-length = 100" in text
    assert "line-length = 90" in text
    python = installed_project().bare_python
    checked = check_conflicts(python, done.folder)
    assert checked.returncode == 1
    assert "pyproject.toml" in checked.stdout
    # Resolved, CI passes it again.
    (done.folder / "pyproject.toml").write_bytes(done.new["pyproject.toml"])
    git("add", "--all", cwd=done.folder)
    assert check_conflicts(python, done.folder).returncode == 0


@pytest.mark.parametrize(("release", "profile", "edit"), WORKING)
def test_an_updated_project_trains_and_passes_its_own_tests(
    history: Path, tmp_path: Path, release: str, profile: str, edit: str
) -> None:
    answers = PROFILES[profile]
    done = update(history, release, next_version(), EDITS[edit], tmp_path, **answers)
    project = support.install_locked(done.folder)
    if answers.get("tracking") == "server":
        project.env = {"MLFLOW_TRACKING_URI": project.store}
    for command in commands_of("After an update"):
        project.run(*command.split(), timeout=600)
    if edit == "usual work":
        project.run("kedro", "run", "--pipelines", "our_report")


def commands_of(title: str) -> list[str]:
    """Return the commands that the page on updating shows in a section."""
    page = (support.ROOT / "docs/updating.md").read_text()
    shown = [one.text for one in read_section(page, title) if one.language == "sh"]
    assert shown, f"The page shows no command below {title}."
    return "".join(shown).splitlines()


def test_the_commands_of_the_page_update_and_change_an_answer(
    history: Path, tmp_path: Path
) -> None:
    first = f"v{released()[0]}"
    project = support.render_template(history, tmp_path / "project", first)
    support.commit_all(project, "Start")
    for section in ("Updating", "Answers"):
        (command,) = commands_of(section)
        support.run(*command.split(), cwd=project)
        support.commit_all(project, section)
    answers = (project / ".copier-answers.yml").read_text()
    assert f"_commit: v{next_version()}" in answers
    assert "profile: regulated" in answers


# Promises broken on purpose -----------------------------------------------------------
def rename_a_file(template: Path) -> None:
    (mlops,) = template.glob("template/src/*/mlops")
    (mlops / "registry.py").rename(mlops / "registering.py")


def change_what_is_yours(template: Path) -> None:
    replace(
        template / "copier.yml",
        "{% if _copier_operation == 'update' %}/conf/base/catalog.yml{% endif %}",
        "nothing",
    )
    append(template / "template/conf/base/catalog.yml.jinja", "\n# A change.\n")


def bring_back_what_was_deleted(template: Path) -> None:
    append(template / "copier.yml", '\n_skip_if_exists: ["docs/model_card.md"]\n')
    replace(
        template / "copier.yml",
        "{% if _copier_operation == 'update' %}/docs/model_card.md{% endif %}",
        "nothing",
    )


def add_a_task(template: Path) -> None:
    append(template / "copier.yml", '\n_tasks: ["true"]\n')


def add_an_extension(template: Path) -> None:
    append(template / "copier.yml", '\n_jinja_extensions: ["jinja2.ext.do"]\n')


def migrate_without_a_version(template: Path) -> None:
    append(template / "copier.yml", '\n_migrations: ["true"]\n')


def drop_a_question(template: Path) -> None:
    text = (template / "copier.yml").read_text()
    start = text.index("author:\n")
    end = text.index("license:\n")
    (template / "copier.yml").write_text(text[:start] + text[end:])
    page = template / "template/pyproject.toml.jinja"
    replace(page, "{{ author }}", "The project's team")
    for path in template.glob("template/*LICENSE*"):
        path.write_text(path.read_text().replace("{{ author }}", "The project's team"))


BROKEN = [
    (rename_a_file, "an edit of the team is lost"),
    (change_what_is_yours, "catalog.yml is yours, and the update changed it"),
    (bring_back_what_was_deleted, "model_card.md: the update brought in a file"),
    (add_a_task, "needs no trust"),
    (add_an_extension, "needs no trust"),
    (migrate_without_a_version, "needs no trust"),
    (drop_a_question, "The answer author"),
]


def everything(project: Path) -> None:
    """Edit a file of ours, and delete one of yours."""
    append(package_of(project) / "mlops/registry.py", "\n# The team's remark.\n")
    (project / "docs/model_card.md").unlink()


@pytest.mark.parametrize(
    ("change", "sentence"), BROKEN, ids=[change.__name__ for change, _ in BROKEN]
)
def test_a_broken_promise_is_named(
    history: Path, tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    template = released_later(history, tmp_path, change)
    found = broken(template, next_version(), LATER, everything, tmp_path)
    assert any(sentence in one for one in found), found


def test_a_deleted_file_that_was_edited_is_shown_by_git(
    history: Path, tmp_path: Path
) -> None:
    """Copier deletes it; the message after an update says how to get it back."""

    def drop(template: Path) -> None:
        (template / "template/.editorconfig").unlink()

    def edit(project: Path) -> None:
        append(project / ".editorconfig", "# ours\n")

    template = released_later(history, tmp_path, drop)
    done = update(template, next_version(), LATER, edit, tmp_path)
    assert git("diff", "--name-only", "--diff-filter=D", cwd=done.folder).split() == [
        ".editorconfig"
    ]
    git("restore", ".editorconfig", cwd=done.folder)
    assert tracked(done.folder)[".editorconfig"].endswith(b"# ours\n")
