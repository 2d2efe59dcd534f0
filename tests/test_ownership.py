"""The generated README says whose each file is, and updates keep to it."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import copier
import pytest

from . import support, variants

ROW = re.compile(r"^\| `(?P<glob>[^`]+)` \| (?P<whose>yours|the template's) \| .+ \|$")


def owners(readme: str) -> list[tuple[str, str]]:
    """Return the README's table of globs and owners, in its order."""
    rows = map(ROW.match, readme.splitlines())
    return [(row["glob"], row["whose"]) for row in rows if row]


def matching_row(name: str, table: list[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the first row that matches a file's path; ``*`` also matches slashes."""
    return next((row for row in table if fnmatchcase(name, row[0])), None)


def files(folder: Path) -> list[str]:
    """Return the paths of all rendered files."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize("answers", variants.single_choices(), ids=variants.label)
def test_every_file_has_an_owner_and_every_row_has_files(
    answers: dict[str, object], rendered: Callable[..., Path]
) -> None:
    folder = rendered(**answers)
    table = owners((folder / "README.md").read_text("utf-8"))
    found = {name: matching_row(name, table) for name in files(folder)}
    assert [name for name, row in found.items() if row is None] == []
    assert set(table) - set(found.values()) == set(), "rows of the table without a file"


def test_a_file_that_the_table_does_not_name_is_noticed(
    rendered: Callable[..., Path],
) -> None:
    table = owners((rendered() / "README.md").read_text("utf-8"))
    assert matching_row("notebooks/new.txt", table) is None


def test_an_update_leaves_what_is_yours_alone_and_brings_the_rest(
    tmp_path: Path,
) -> None:
    """Every rendered file changes in the next release; only the template's arrive."""
    template = support.snapshot_template(tmp_path / "template")
    folder = support.render_template(template, tmp_path / "project")
    support.commit_all(folder, "Start")
    table = owners((folder / "README.md").read_text("utf-8"))
    deleted = "src/mortgage_approval/pipelines/batch_inference/nodes.py"
    (folder / deleted).unlink()
    support.commit_all(folder, "Delete what is not needed")

    for path in template.glob("template/**/*"):
        if path.is_file() and path.suffix != ".csv" and "answers_file" not in path.name:
            path.write_text(path.read_text("utf-8") + "# changed\n", "utf-8")
    support.commit_all(template, "Change every file")
    support.git("tag", "v0.2.0", cwd=template)
    copier.run_update(folder, defaults=True, overwrite=True, quiet=True, unsafe=False)

    changed = [
        line[3:]
        for line in support.git("status", "--porcelain", cwd=folder).splitlines()
    ]
    whose = {name: (matching_row(name, table) or ("", "?"))[1] for name in changed}
    assert set(whose.values()) == {"the template's"}
    assert not (folder / deleted).exists()
    expected = {
        name
        for name in files(folder)
        if not name.startswith(".git/")
        and (matching_row(name, table) or ("", "?"))[1] == "the template's"
    }
    assert set(changed) == expected
