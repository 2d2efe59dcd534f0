"""An update from every release keeps what a team did, and brings what is new."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.archive import released

from . import support
from .edits import EDITS, append, package_of, replace
from .history import (
    check_conflicts,
    make_history,
    next_version,
    tracked,
    unmerged,
)
from .promise import broken, render, update
from .support import Project, git

LATER = "v0.99.0"  # a made-up release
PROFILES: dict[str, dict[str, Any]] = {
    "essentials": {"profile": "essentials", "ci": "azure"},
    "production": {},
    "regulated": {"profile": "regulated", "tracking": "server", "ci": "gitlab"},
    "kubernetes": {
        **{"profile": "custom", "serving": "kubernetes", "tracking": "server"},
        **{"task": "regression"},
    },
}


def sampled(release: str, profile: str, edit: str) -> Any:
    """Return a combination; `make test` runs each edit of each release once."""
    chosen = list(EDITS).index(edit) % len(PROFILES) == list(PROFILES).index(profile)
    marks = () if chosen else (pytest.mark.full,)
    name = f"{release}-{profile}-{edit.replace(' ', '_')}"
    return pytest.param(release, profile, edit, marks=marks, id=name)


MATRIX = [sampled(*one) for one in itertools.product(released(), PROFILES, EDITS)]


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
    git("clone", "--quiet", str(history), "template", cwd=tmp_path)
    page = tmp_path / "template/template/pyproject.toml.jinja"
    replace(page, line, "line-length = 90")
    support.tag_template(tmp_path / "template", LATER)

    def change(project: Path) -> None:
        replace(project / "pyproject.toml", line, "line-length = 100")

    done = update(tmp_path / "template", release, LATER[1:], change, tmp_path)
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


SHOWN = ("production", "usual work")
WORKING = [
    pytest.param(
        *(release, profile, edit),
        marks=()
        if (profile, edit) == ("production", "usual work")
        else pytest.mark.full,
        id=f"{release}-{profile}-{edit.replace(' ', '_')}",
    )
    for release, profile, edit in itertools.product(released(), PROFILES, EDITS)
    if edit != "deleted example"  # which leaves nothing to train on
]


@pytest.mark.run
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


def commands_of(section: str) -> list[str]:
    """Return the commands that the page on updating shows in a section."""
    page = (support.ROOT / "docs/updating.md").read_text()
    text = page.partition(f"# {section}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?ms)^```sh\n(.*?)^```", text)
    assert found, f"The page shows no command under {section}."
    return "".join(found).splitlines()


def test_the_commands_of_the_page_update_and_change_an_answer(
    history: Path, tmp_path: Path
) -> None:
    project = render(history, tmp_path / "project", released()[0])
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
    git("clone", "--quiet", str(history), "template", cwd=tmp_path)
    change(tmp_path / "template")
    support.tag_template(tmp_path / "template", LATER)
    found = broken(
        *(tmp_path / "template", next_version(), LATER[1:], everything, tmp_path)
    )
    assert any(sentence in one for one in found), found


def test_a_deleted_file_that_was_edited_is_shown_by_git(
    history: Path, tmp_path: Path
) -> None:
    """Copier deletes it; the message after an update says how to get it back."""
    git("clone", "--quiet", str(history), "template", cwd=tmp_path)
    (tmp_path / "template/template/.editorconfig").unlink()
    support.tag_template(tmp_path / "template", LATER)

    def edit(project: Path) -> None:
        append(project / ".editorconfig", "# ours\n")

    done = update(tmp_path / "template", next_version(), LATER[1:], edit, tmp_path)
    assert git("diff", "--name-only", "--diff-filter=D", cwd=done.folder).split() == [
        ".editorconfig"
    ]
    git("restore", ".editorconfig", cwd=done.folder)
    assert tracked(done.folder)[".editorconfig"].endswith(b"# ours\n")
