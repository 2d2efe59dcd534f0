"""Over many checkouts: who is behind, who would conflict, and the clean are updated."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .edits import replace
from .support import ROOT, Process, commit_all, environment, git, render_template, run
from .tutorial import read_blocks, shows

pytestmark = pytest.mark.run

PAGE = ROOT / "docs" / "many-projects.md"
RULES = "conf/base/artifacts.yml"
GUARD = "src/mortgage_approval/mlops/guard.py"
STATES = {
    "behind": ["blue", "brown", "green"],
    "conflicts": ["gold", "red"],
    "current": ["cyan", "lime", "orange", "pink", "white"],
    "dirty": ["olive"],
    "failed": ["gray"],
    "no project": ["notes"],
}


@pytest.fixture(scope="module")
def releases(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template with a second release, in which two lines changed."""
    folder = tmp_path_factory.mktemp("releases") / "template"
    git("clone", "--quiet", str(template), str(folder), cwd=template)
    inside = folder / "template"
    replace(inside / f"{RULES}.jinja", "last: 20 # finished", "last: 30 # finished")
    guard = inside / "src/{{ package_name }}/mlops/guard.py"
    replace(guard, "SECONDS_TO_ANSWER = 10", "SECONDS_TO_ANSWER = 15")
    commit_all(folder, "Keep more runs, wait longer")
    git("tag", "v0.2.0", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def all_projects(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkouts of STATES; read-only."""
    folder = tmp_path_factory.mktemp("many")
    git("clone", "--quiet", str(releases), "template", cwd=folder)
    git("tag", "--delete", "v0.2.0", cwd=folder / "template")
    old = render_template(folder / "template", folder / "old")
    replace(old / ".copier-answers.yml", str(folder / "template"), str(releases))
    new = render_template(releases, folder / "new")
    edits: dict[str, Callable[[Path], Any]] = {
        "brown": lambda p: replace(p / RULES, "grace_days: 7", "grace_days: 9"),
        "green": lambda p: (p / "src/mortgage_approval/hooks.py").write_text(
            "HOOKS = ()\n"
        ),
        "gold": lambda p: replace(
            p / RULES, "last: 20 # finished", "last: 5 # finished"
        ),
        "gray": lambda p: replace(
            p / ".copier-answers.yml", str(releases), str(folder / "gone")
        ),
        "red": lambda p: (
            replace(p / RULES, "last: 20 # finished", "last: 6 # finished"),
            replace(p / GUARD, "SECONDS_TO_ANSWER = 10", "SECONDS_TO_ANSWER = 3"),
        ),
    }
    for state, names in STATES.items():
        for name in names:
            project = folder / "projects" / name
            shutil.copytree(new if state == "current" else old, project)
            edits.get(name, lambda p: None)(project)
            if state == "no project":
                (project / ".copier-answers.yml").unlink()
            commit_all(project, "Start")
            if state == "dirty":
                (project / "README.md").write_text("Edited\n", "utf-8")
    return folder / "projects"


@pytest.fixture
def projects(all_projects: Path, tmp_path: Path) -> Path:
    """A private copy of all checkouts."""
    return Path(shutil.copytree(all_projects, tmp_path / "projects", symlinks=True))


def many(folder: Path, *arguments: str | Path, check: bool = False) -> Process:
    """Run the tool as the page does, with the Python of these tests."""
    tool = ROOT / "scripts" / "many.py"
    return run(sys.executable, tool, *arguments, cwd=folder, check=check)


def states(done: Process) -> dict[str, list[str]]:
    """Return the names of the checkouts in each state."""
    found: dict[str, list[str]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["state"], []).append(Path(each["path"]).name)
    return found


def everything(project: Path) -> dict[str, bytes]:
    """Return all files of a checkout, git's own but for what reading refreshes."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and path.name != "index"
    }


def test_the_page_shows_what_is_printed_and_nothing_changes(
    all_projects: Path,
) -> None:
    projects = all_projects
    before = {path: everything(path) for path in projects.iterdir()}
    blocks = read_blocks(PAGE.read_text("utf-8"))
    command, table = blocks[:2]
    assert command.text.split()[:3] == [
        "uv",
        "run",
        "kedro-mlflow-blueprint/scripts/many.py",
    ]
    done = many(projects.parent, *sorted(projects.iterdir()))
    assert done.returncode == 1
    assert shows(table.text, done.stdout), done.stdout
    assert {path: everything(path) for path in projects.iterdir()} == before
    for path in projects.iterdir():
        assert git("branch", "--list", cwd=path).split() == ["*", "main"]
        assert len(git("worktree", "list", cwd=path).splitlines()) == 1


def test_the_clean_ones_are_updated_and_the_others_untouched(projects: Path) -> None:
    command, loop = read_blocks(PAGE.read_text("utf-8"))[2:]
    options = command.text.split("projects/*")[1].split()
    folders = sorted(projects.iterdir())
    before = {path.name: everything(path) for path in folders}
    done = many(projects.parent, *folders, *options, "--json")
    assert states(done) == {
        "updated" if state == "behind" else state: names
        for state, names in STATES.items()
    }
    for name in STATES["behind"]:
        project = projects / name
        assert git("branch", "--show-current", cwd=project) == f"{options[-1]}\n"
        assert git("diff", "--name-only", cwd=project).split() == [
            ".copier-answers.yml",
            RULES,
            GUARD,
        ]
        assert "last: 30 # finished" in (project / RULES).read_text("utf-8")
        assert git("log", "--format=%s", cwd=project) == "Start\n"
    assert "grace_days: 9" in (projects / "brown" / RULES).read_text("utf-8")
    assert (projects / "green/src/mortgage_approval/hooks.py").exists()
    author = {"GIT_AUTHOR_NAME": "Reader", "GIT_AUTHOR_EMAIL": "reader@example.org"}
    author |= {key.replace("AUTHOR", "COMMITTER"): v for key, v in author.items()}
    env = environment(**author)
    run("bash", "-euc", loop.text, cwd=projects.parent, env=env)
    for name in STATES["behind"]:
        log = git("log", "--format=%s", cwd=projects / name)
        assert log == "Update the template\nStart\n"
        assert git("status", "--porcelain", cwd=projects / name) == ""
    for state in STATES.keys() - {"behind"}:
        for name in STATES[state]:
            assert everything(projects / name) == before[name], name


def test_what_conflicts_is_named_and_copier_update_agrees(projects: Path) -> None:
    done = many(projects, "red", "--json")
    (red,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert red["detail"] == [RULES, GUARD]
    run("copier", "update", "--defaults", cwd=projects / "red")
    unmerged = git("ls-files", "--unmerged", cwd=projects / "red")
    assert {line.split("\t")[1] for line in unmerged.splitlines()} == {RULES, GUARD}


def test_the_exit_code_says_whether_a_person_is_needed(projects: Path) -> None:
    assert many(projects, "cyan").returncode == 0
    for state in ("dirty", "failed", "no project"):
        assert many(projects, STATES[state][0]).returncode == 1, state
    assert many(projects).returncode == 2
    wrong = many(projects, "cyan", "--branch", "news")
    assert wrong.returncode == 2
    assert "--branch needs --update" in wrong.stderr


def test_a_project_in_a_folder_of_its_repository_is_updated(projects: Path) -> None:
    whole = projects / "whole"
    shutil.copytree(projects / "blue", whole / "inner")
    shutil.rmtree(whole / "inner" / ".git")
    (whole / "other.txt").write_text("Another project's\n", "utf-8")
    commit_all(whole, "Start")
    (whole / "other.txt").write_text("Edited\n", "utf-8")
    (looked,) = json.loads(many(whole, "inner", "--json").stdout)
    assert looked["state"] == "behind"


def test_the_help_names_every_state() -> None:
    text = many(ROOT, "--help").stdout
    assert all(f"  {state} " in text for state in [*STATES, "updated"])
