"""A release is made only if all agrees, and is kept with its checksum."""

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from scripts import archive, release
from scripts.archive import RELEASES, SUMS, checksums, released, unpack

from .edits import append, replace
from .history import next_version
from .support import ROOT, commit_all, copy_listed, environment, git, run

VERSION = "9.0.0"  # of a made-up release
KEPT = ("copier.yml", "template", "docs", "scripts", "tests/releases", "Makefile")
PLAIN = ("CHANGELOG.md", "README.md", "pyproject.toml", "zensical.toml", ".gitignore")


def today() -> date:
    """Return the day on which `make release` would release."""
    return datetime.now(UTC).date()


# Archives -----------------------------------------------------------------------------
@pytest.mark.parametrize("version", released())
def test_a_release_is_kept_whole_and_with_its_checksum(
    version: str, tmp_path: Path
) -> None:
    unpack(version, tmp_path)
    settings = yaml.safe_load((tmp_path / "copier.yml").read_text())
    assert settings["_subdirectory"] == "template"
    assert len(list((tmp_path / "template").rglob("*"))) > 100


def test_every_archive_is_listed_and_in_the_changelog() -> None:
    assert set(checksums()) == {f"{version}.tar.xz" for version in released()}
    said = re.findall(r"(?m)^## \[(\S+)\] - \d", (ROOT / "CHANGELOG.md").read_text())
    # The next one is dated before it is released, since its tests come first.
    made = [version for version in said if version != next_version()]
    assert sorted(made, key=archive.parse) == released()


def test_an_archive_that_was_changed_is_refused(tmp_path: Path) -> None:
    shutil.copytree(RELEASES, tmp_path / "releases")
    version = released()[-1]
    archived = tmp_path / "releases" / f"{version}.tar.xz"
    archived.write_bytes(archived.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="is not the archive that was released"):
        unpack(version, tmp_path / "out", tmp_path / "releases")


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    files = {"b": b"2", "a": b"1"}
    digests = set()
    for name in ("one", "two"):
        archive.keep("1.2.3", files, tmp_path / name)
        digests.add((tmp_path / name / SUMS).read_text())
    assert len(digests) == 1


# `make release` -----------------------------------------------------------------------
@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A copy of this repository in which all agrees that VERSION can be released."""
    folder = tmp_path / "repository"
    copy_listed(folder, *KEPT, *PLAIN)
    text = (folder / "pyproject.toml").read_text()
    text = re.sub(r"(?m)^version = .*", f'version = "{VERSION}"', text)
    (folder / "pyproject.toml").write_text(text)
    text = (folder / "CHANGELOG.md").read_text()
    entry = f"## [{VERSION}] - {today()}\n\n### Added\n\n- A thing.\n\n"
    (folder / "CHANGELOG.md").write_text(text.replace("## [", entry + "## [", 1))
    constraints = folder / "template/constraints.txt"
    day = r"(?<=exclude-newer )\S+"
    constraints.write_text(re.sub(day, str(today()), constraints.read_text()))
    page = folder / "docs/compatibility.md"
    text = page.read_text()
    (row,) = re.findall(r"(?m)^\| 0\.1\.0 \|.*\n", text)
    page.write_text(text.replace(row, row.replace("0.1.0", VERSION) + row))
    commit_all(folder, "Ready", "--force")
    note_tests(folder)
    return folder


def note_tests(folder: Path) -> None:
    """Note that `make test` has passed on what is committed."""
    note = folder / release.TESTED
    note.parent.mkdir(exist_ok=True)
    note.write_text(git("rev-parse", "HEAD^{tree}", cwd=folder))


def test_a_release_in_which_all_agrees_is_archived_committed_and_tagged(
    ready: Path,
) -> None:
    (ready / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (ready / ".venv" / name).symlink_to(ROOT / ".venv" / name)
    (ready / ".venv/ready").touch()
    identity = {
        f"GIT_{who}_{what}": "release@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    env = environment(**identity)
    command = ("make", "release", f"VERSION={VERSION}")
    done = run(*command, cwd=ready, env=env)
    assert f"Released {VERSION}" in done.stdout
    assert git("tag", "--points-at", "HEAD", cwd=ready).split() == [f"v{VERSION}"]
    assert git("log", "-1", "--format=%s", cwd=ready).strip() == f"Release {VERSION}"
    assert git("status", "--porcelain", cwd=ready) == ""
    files = release.files_of(ready)
    unpack(VERSION, ready / "build/out", ready / "tests/releases")
    for name, content in files.items():
        assert (ready / "build/out" / name).read_bytes() == content
    assert len(files) > 100
    again = run(
        "make", "release", f"VERSION={VERSION}", cwd=ready, env=env, check=False
    )
    assert again.returncode == 2
    assert f"{VERSION} is released already" in again.stderr


def leave_uncommitted(folder: Path) -> None:
    append(folder / "README.md", "More.\n")


def declare_another_version(folder: Path) -> None:
    replace(folder / "pyproject.toml", f'version = "{VERSION}"', 'version = "8.0.0"')


def name_another_version(folder: Path) -> None:
    replace(folder / "CHANGELOG.md", f"## [{VERSION}] -", "## [8.0.0] -")


def leave_undated(folder: Path) -> None:
    replace(
        folder / "CHANGELOG.md",
        f"] - {today()}\n\n### Added\n\n- A thing",
        "] - unreleased\n\n### Added\n\n- A thing",
    )


def say_nothing(folder: Path) -> None:
    replace(folder / "CHANGELOG.md", "### Added\n\n- A thing.\n\n", "")


def resolve_long_ago(folder: Path) -> None:
    path = folder / "template/constraints.txt"
    long_ago = str(today() - timedelta(days=release.DAYS + 1))
    path.write_text(path.read_text().replace(str(today()), long_ago))


def leave_out_the_table(folder: Path) -> None:
    replace(folder / "docs/compatibility.md", f"| {VERSION} |", "| unknown |")


def change_after_the_tests(folder: Path) -> None:
    append(folder / "README.md", "More.\n")
    commit_all(folder, "More")


def add_a_task(folder: Path) -> None:
    append(folder / "copier.yml", '\n_tasks: ["true"]\n')


def add_an_extension(folder: Path) -> None:
    append(folder / "copier.yml", '\n_jinja_extensions: ["jinja2.ext.do"]\n')


def migrate_without_a_version(folder: Path) -> None:
    append(folder / "copier.yml", '\n_migrations: ["true"]\n')


REFUSED = [
    (leave_uncommitted, "changes that are not committed"),
    (declare_another_version, "pyproject.toml says version 8.0.0"),
    (name_another_version, "CHANGELOG.md begins with 8.0.0"),
    (leave_undated, "dates 9.0.0 unreleased"),
    (say_nothing, "does not say what 9.0.0 changes"),
    (resolve_long_ago, "make constraints DATE="),
    (leave_out_the_table, "docs/compatibility.md has no row"),
    (change_after_the_tests, "`make test` has not passed"),
    (add_a_task, "_tasks: every copy and update would need --trust"),
    (add_an_extension, "_jinja_extensions: every copy"),
    (migrate_without_a_version, "A migration names no version"),
]


@pytest.mark.parametrize(
    ("change", "sentence"), REFUSED, ids=[change.__name__ for change, _ in REFUSED]
)
def test_what_does_not_agree_is_refused_with_a_sentence(
    ready: Path, change: Callable[[Path], None], sentence: str
) -> None:
    assert list(release.refusals(VERSION, ready, today())) == []
    change(ready)
    if change not in (leave_uncommitted, change_after_the_tests):
        commit_all(ready, "A change")
        note_tests(ready)
    (found,) = release.refusals(VERSION, ready, today())
    assert sentence in found


def test_a_minor_version_takes_nothing_away_that_is_public(ready: Path) -> None:
    last = released()[-1]
    known = set(release.api_refusals(last, ready))
    (package,) = (ready / "template/src").iterdir()
    (package / "mlops/registry.py").rename(package / "mlops/registering.py")
    replace(ready / "copier.yml", "    MIT: MIT\n", "")
    text = (ready / "copier.yml").read_text()
    start, end = text.index("\ndescription:\n"), text.index("\nauthor:\n")
    (ready / "copier.yml").write_text(text[:start] + text[end:])
    commit_all(ready, "Take away")
    found = [one for one in release.api_refusals(last, ready) if one not in known]
    assert len(found) == 3
    assert "mlops/registry.py is gone. Paths are public" in found[0]
    assert "The question description is gone" in found[1]
    assert found[2] == "license no longer takes MIT."
    # A major version may, and what the changelog names under Removed may go.
    assert not any(
        "is gone" in one for one in release.refusals(VERSION, ready, today())
    )
    text = (ready / "CHANGELOG.md").read_text()
    removed = "- A thing.\n\n### Removed\n\n- `mlops/registry.py`\n\n"
    (ready / "CHANGELOG.md").write_text(text.replace("- A thing.\n\n", removed, 1))
    assert found[0] not in release.api_refusals(last, ready)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [("nine", "'nine' is no version"), ("0.0.9", "0.1.0 is released already")],
)
def test_a_version_that_can_not_follow_is_refused(
    ready: Path, version: str, sentence: str
) -> None:
    if version == "0.0.9":
        sentence = f"{released()[-1]} is released already"
    assert any(sentence in one for one in release.refusals(version, ready, today()))


def test_make_test_leaves_a_note_only_of_a_whole_run_on_a_clean_tree(
    tmp_path: Path,
) -> None:
    """The recipe of `make test`, with its two halves replaced by nothing."""
    shutil.copy2(ROOT / "Makefile", tmp_path)
    (tmp_path / ".gitignore").write_text("/build/\n/.venv/\n")
    (tmp_path / "pyproject.toml").touch()
    commit_all(tmp_path, "Start")
    (tmp_path / "build").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/pytest").write_text("#!/bin/sh\necho passed\n")
    (tmp_path / ".venv/bin/pytest").chmod(0o755)
    (tmp_path / ".venv/ready").touch()
    note = tmp_path / release.TESTED
    env = environment(MAKEFLAGS="")

    def test(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run("make", "test", *arguments, cwd=tmp_path, env=env)

    test("PYTEST_ARGS=-k name")
    assert not note.exists(), "A part of the tests is not the whole."
    (tmp_path / "README.md").touch()
    test("PYTEST_ARGS=")
    assert not note.exists(), "The tree was not committed."
    commit_all(tmp_path, "Change")
    test("PYTEST_ARGS=")
    assert note.read_text() == git("rev-parse", "HEAD^{tree}", cwd=tmp_path)
