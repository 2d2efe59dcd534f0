"""The README says of every file whose it is, and an update keeps to it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from . import variants
from .support import commit_all, git, render_template, update_project
from .test_render import files_of

Render = Callable[..., Path]
ROW = re.compile(
    r"^\| `(?P<pattern>[^`]+)` \| (?P<whose>yours|the template's) \|", re.M
)
CHANGE = "# A change of the template\n"


def rows_of(folder: Path) -> list[tuple[str, str]]:
    """Return the patterns of the README's table, and whose the files are."""
    return ROW.findall((folder / "README.md").read_text("utf-8"))


def matches(name: str, pattern: str) -> bool:
    """Tell whether a path matches: `*` stays in a folder, `**` does not."""
    regex = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.fullmatch(regex, name) is not None


def owner(name: str, rows: list[tuple[str, str]]) -> str | None:
    """Return whose a file is: the first row that matches counts."""
    return next((whose for pattern, whose in rows if matches(name, pattern)), None)


@pytest.mark.parametrize("answers", variants.all_pairs(), ids=variants.label)
def test_the_readme_names_an_owner_of_every_file_and_no_file_that_is_not_there(
    rendered: Render, answers: variants.Answers
) -> None:
    folder = rendered(**answers)
    rows, names = rows_of(folder), list(files_of(folder))
    assert {whose for _, whose in rows} == {"yours", "the template's"}
    assert [name for name in names if owner(name, rows) is None] == []
    useless = [
        pattern
        for index, (pattern, _) in enumerate(rows)
        if not any(
            matches(name, pattern) and owner(name, rows[:index]) is None
            for name in names
        )
    ]
    assert useless == []


@pytest.fixture(scope="module")
def updated(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project updated to a release in which every file of the template changed."""
    folder = tmp_path_factory.mktemp("ownership")
    git("clone", "--quiet", str(template), "template", cwd=folder)
    changed, project = folder / "template", folder / "project"
    render_template(changed, project)
    commit_all(project, "Start")
    for path in (changed / "template").rglob("*"):
        if path.is_file() and "answers_file" not in path.name:
            path.write_text(path.read_text("utf-8") + CHANGE, "utf-8")
    commit_all(changed, "Change every file")
    git("tag", "v0.2.0", cwd=changed)
    (project / "data/01_raw/mortgage_applications.csv").unlink()
    commit_all(project, "Delete a file that is ours")
    update_project(project)
    return project


def test_an_update_changes_the_templates_files_only(
    rendered: Render, updated: Path
) -> None:
    rows = rows_of(rendered())
    changed = {
        name
        for name, path in files_of(updated).items()
        if not name.startswith(".git/") and CHANGE in path.read_text("utf-8")
    }
    expected = {
        name for name in files_of(rendered()) if owner(name, rows) == "the template's"
    }
    assert changed == expected - {".copier-answers.yml"}
    assert "_commit: v0.2.0" in (updated / ".copier-answers.yml").read_text("utf-8")


def test_an_update_does_not_bring_back_what_you_deleted(updated: Path) -> None:
    assert not (updated / "data/01_raw/mortgage_applications.csv").exists()


def test_a_wrong_table_would_be_noticed() -> None:
    rows = [
        ("tests/pipelines/**", "yours"),
        ("tests/**", "the template's"),
        ("*.py", "x"),
    ]
    assert owner("tests/pipelines/deep/test_a.py", rows) == "yours"
    assert owner("tests/test_a.py", rows) == "the template's"
    assert owner("a.py", rows) == "x"
    assert owner("folder/a.py", rows) is None
