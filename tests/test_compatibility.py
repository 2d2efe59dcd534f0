"""A project works on the lowest and the newest versions that it claims."""

import json
import re
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import compatibility
from scripts.compatibility import Outcome

from .support import ROOT, Process, environment, interpreter, read_toml, run

Render = Callable[..., Path]
PAGE = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
WORKFLOW = ROOT / ".github" / "workflows" / "compatibility.yml"


def try_versions(*arguments: str | Path) -> Process:
    """Run the script as `make compatibility` does."""
    script = ROOT / "scripts" / "compatibility.py"
    command = (sys.executable, script, *arguments)
    return run(*command, cwd=ROOT, check=False, timeout=3600)


def python_of(folder: Path) -> str:
    """Return a Python that a rendered project accepts, and that is installed here."""
    python = read_toml(folder / "pyproject.toml")["project"]["requires-python"]
    assert interpreter(python), f"Python {python} is not installed."
    return python


def lower_bounds(folder: Path) -> dict[str, str]:
    """Return the lowest version that a project accepts of each dependency."""
    declared = read_toml(folder / "pyproject.toml")["project"]["dependencies"]
    pattern = r"([\w-]+).*?>=([\d.]+)"
    return dict(re.match(pattern, requirement).groups() for requirement in declared)


def is_version(found: str, lowest: str) -> bool:
    """Tell whether a version is the lowest one that a bound allows."""
    return f"{found}.0.0".startswith(f"{lowest}.")


# What is claimed ----------------------------------------------------------------------
@pytest.mark.run
def test_the_lowest_and_the_newest_versions_work(rendered: Render) -> None:
    folder = rendered()
    chosen = f"--json --only lowest newest --python '{python_of(folder)}'"
    command = ("make", "--silent", "compatibility", f"COMPATIBILITY_ARGS={chosen}")
    done = run(*command, cwd=ROOT, check=False, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    lowest, newest = json.loads(done.stdout)
    assert (lowest["case"], newest["case"]) == ("lowest", "newest")
    assert lowest["failed_at"] == newest["failed_at"] == ""
    bounds = lower_bounds(folder)
    for name, version in lowest["versions"].items():
        assert is_version(version, bounds[name]), f"{name} {version} > {bounds[name]}"
    apart = {n for n, v in newest["versions"].items() if v != lowest["versions"][n]}
    assert apart, "The newest versions are the lowest ones."


@pytest.mark.full
@pytest.mark.parametrize("python", compatibility.pythons())
@pytest.mark.parametrize("case", compatibility.CLAIMED)
def test_every_python_works_on_what_is_claimed(case: str, python: str) -> None:
    assert interpreter(python), f"Python {python} is not installed."
    done = try_versions("--only", case, "--python", python)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "worked" in done.stdout


@pytest.mark.full
def test_pre_releases_are_told_about_and_fail_nothing(rendered: Render) -> None:
    only = ("--only", "pre-releases", "--python", python_of(rendered()))
    done = try_versions("--json", *only)
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout)
    assert outcome["case"] == "pre-releases"


@pytest.mark.run
def test_every_dependency_is_installed_at_its_lower_bound(render: Render) -> None:
    folder = render()
    lowest = compatibility.CASES["lowest"]
    run("uv", "lock", *lowest, cwd=folder, timeout=600)
    locked = {p["name"]: p["version"] for p in read_toml(folder / "uv.lock")["package"]}
    bounds = lower_bounds(folder)
    assert len(bounds) > 5
    for name, bound in bounds.items():
        assert is_version(locked[name], bound), f"{name} {locked[name]} > {bound}"
    run("uv", "lock", "--upgrade", cwd=folder, timeout=600)
    locked = {p["name"]: p["version"] for p in read_toml(folder / "uv.lock")["package"]}
    assert not all(is_version(locked[name], bound) for name, bound in bounds.items())


# What would not work is named ---------------------------------------------------------
@pytest.fixture
def broken(render: Render) -> Callable[[str, str, str], Path]:
    """Return a function that replaces a text in a file of a fresh project."""

    def broken(name: str, right: str, wrong: str) -> Path:
        folder = render()
        text = (folder / name).read_text()
        assert text.count(right) == 1
        (folder / name).write_text(text.replace(right, wrong))
        return folder

    return broken


@pytest.mark.run
def test_a_version_that_is_known_to_be_broken_is_named_with_the_step_that_fails(
    broken: Callable[[str, str, str], Path],
) -> None:
    """The template excludes pandas 3.0.0: with it MLflow can save no input example."""
    folder = broken("pyproject.toml", "pandas>=3.0.1,<4", "pandas==3.0.0")
    one = ("--only", "newest", "--python", python_of(folder))
    done = try_versions("--project", folder, *one)
    assert done.returncode == 1, done.stdout + done.stderr
    header, _, row = done.stdout.strip().splitlines()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["pandas"] == "3.0.0"
    assert cells["outcome |"].startswith("**failed** at run: ")


@pytest.mark.run
def test_versions_that_do_not_fit_together_fail_to_resolve(
    broken: Callable[[str, str, str], Path],
) -> None:
    folder = broken("pyproject.toml", "pandas>=3.0.1,<4", "pandas>=999")
    arguments = ("--project", folder, "--json", "--python", python_of(folder))
    done = try_versions(*arguments, "--only", "newest", "pre-releases")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [each["failed_at"] for each in found] == ["resolve", "resolve"]
    assert found[0]["versions"] == {}
    assert "pandas" in found[0]["reason"]
    alone = try_versions(*arguments, "--only", "pre-releases")
    assert alone.returncode == 0, "Pre-releases only inform."


def test_only_what_is_claimed_can_be_refuted() -> None:
    failed = Outcome("newest", "3.11", failed_at="test", reason="FAILED a | b")
    assert failed.refuted
    assert not replace(failed, failed_at="").refuted
    assert not replace(failed, case="pre-releases").refuted
    assert "| **failed** at test: FAILED a \\| b |" in compatibility.show([failed])
    assert "| worked |" in compatibility.show([replace(failed, failed_at="")])


def test_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    done = try_versions("--project", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} holds no project" in done.stderr
    assert "compatibility.py --python 3.12" in try_versions("--help").stdout


# The page -----------------------------------------------------------------------------
def releases() -> list[str]:
    """Return the releases that the changelog names, the newest first."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    return re.findall(r"(?m)^## \[(\d\S*)\]", changelog)


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each release's row."""
    found = re.findall(r"(?m)^\| (\d\S*) \| (.+) \|$", page)
    return {release: [release, *cells.split(" | ")] for release, cells in found}


def test_the_page_has_a_row_for_each_release_in_their_order() -> None:
    assert len(releases()) > 1
    assert list(rows(PAGE)) == releases()


def test_the_newest_row_is_what_constraints_and_questionnaire_say(
    tmp_path: Path,
) -> None:
    newest, *_ = releases()
    expected = compatibility.tested_with(ROOT, newest)
    command = f"python scripts/compatibility.py --record {newest}"
    assert rows(PAGE)[newest] == expected, f"Run `{command}`, and commit the page."
    (tmp_path / "template").mkdir()
    shutil.copy2(ROOT / "copier.yml", tmp_path)
    pinned = (ROOT / "template/constraints.txt").read_text()
    changed = re.sub(r"(?m)^kedro==.*$", "kedro==1.99.0", pinned)
    (tmp_path / "template/constraints.txt").write_text(changed)
    other = compatibility.tested_with(tmp_path, newest)
    assert [cell for cell in other if cell not in expected] == ["1.99.0"]


def archived_rows(archives: Path, folder: Path) -> dict[str, list[str]]:
    """Return what the archives of releases were tested with; unpack into ``folder``."""
    found = {}
    for archive in archives.glob("*.tar.xz"):
        version = archive.name.removesuffix(".tar.xz")
        with tarfile.open(archive) as content:
            content.extractall(folder / version, filter="data")
        found[version] = compatibility.tested_with(folder / version, version)
    return found


def test_the_row_of_each_archived_release_is_what_its_archive_says(
    tmp_path: Path,
) -> None:
    newest, *_ = releases()
    with tarfile.open(tmp_path / f"{newest}.tar.xz", "w:xz") as archive:
        for name in ("copier.yml", "template/constraints.txt"):
            archive.add(ROOT / name, name)
    for folder in (tmp_path, ROOT / "tests" / "releases"):
        for version, row in archived_rows(folder, tmp_path / "unpacked").items():
            assert rows(PAGE)[version] == row
    assert (tmp_path / "unpacked" / newest / "copier.yml").is_file()


def test_a_row_is_written_anew_or_added_on_top() -> None:
    newest, *_ = releases()
    row = rows(PAGE)[newest]
    assert compatibility.record(PAGE, row) == PAGE
    changed = compatibility.record(PAGE, [*row[:2], "1.99.0", *row[3:]])
    assert rows(changed)[newest][2] == "1.99.0"
    added = compatibility.record(PAGE, ["9.0.0", *row[1:]])
    assert list(rows(added)) == ["9.0.0", *releases()]


def test_the_commands_that_the_page_shows_are_understood(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    shown = re.findall(
        r"(?m)^make compatibility(?: COMPATIBILITY_ARGS=\"(.+)\")?$", PAGE
    )
    assert len(shown) == PAGE.count("make compatibility") - PAGE.count("`make comp")
    for arguments in shown:
        words = arguments.replace("../my-project", str(tmp_path)).split()
        options = compatibility.parse_options(words)
        assert options.python in (["3.12"], compatibility.pythons())
    with pytest.raises(SystemExit):
        compatibility.parse_options(["--only", "oldest"])


# Every week ---------------------------------------------------------------------------
def workflow() -> dict[Any, Any]:
    """Return the workflow that runs it."""
    return yaml.safe_load(WORKFLOW.read_text("utf-8"))


def test_it_runs_every_week_on_every_python_of_the_questionnaire() -> None:
    (schedule,) = workflow()[True]["schedule"]  # YAML reads `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* 1", schedule["cron"])
    job = workflow()["jobs"]["versions"]
    assert job["strategy"]["matrix"]["python"] == compatibility.pythons()
    assert job["permissions"] == {"contents": "read"}
    checker = ("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    run(*checker, WORKFLOW, cwd=ROOT)
    run("zizmor", "--offline", "--persona", "pedantic", WORKFLOW, cwd=ROOT)


@pytest.mark.parametrize("status", [0, 1])
def test_the_table_goes_to_the_summary_and_a_failure_fails_the_job(
    tmp_path: Path, status: int
) -> None:
    """A stand-in for Python prints the table: the real one takes minutes, see above."""
    step = workflow()["jobs"]["versions"]["steps"][-1]
    assert step["shell"].startswith("bash")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "| $* |"\nexit {status}\n')
    python.chmod(0o755)
    env = environment(GITHUB_STEP_SUMMARY=str(tmp_path / "summary"), PYTHON="3.12")
    shell = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
    done = run(*shell, step["run"], cwd=tmp_path, env=env, check=False)
    assert done.returncode == status
    row = "| scripts/compatibility.py --python 3.12 |\n"
    assert (tmp_path / "summary").read_text() == row
