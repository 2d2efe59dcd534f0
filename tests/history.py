"""A repository of the template with every release tagged, made from the archives."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from scripts.archive import parse, released, unpack

from . import support
from .support import git, read_toml

LATER = "0.99.0"  # a made-up release


def next_version() -> str:
    """Return what the working tree is released as: later than every archive."""
    declared = read_toml(support.ROOT / "pyproject.toml")["project"]["version"]
    last = released()[-1]
    if parse(declared) > parse(last):
        return declared
    major, minor, patch = parse(last)
    return f"{major}.{minor}.{patch + 1}"


def make_history(folder: Path) -> Path:
    """Write the repository: a commit and a tag for each release and the working tree.

    It needs neither this repository's history nor its tags.
    """
    for version in released():
        empty(folder)
        unpack(version, folder)
        support.tag_template(folder, f"v{version}")
    empty(folder)
    support.copy_listed(folder, *support.TEMPLATE)
    support.tag_template(folder, f"v{next_version()}")
    return folder


def released_later(history: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    """Return a copy of a history in which a change is released as version LATER."""
    git("clone", "--quiet", str(history), "template", cwd=folder)
    change(folder / "template")
    support.tag_template(folder / "template", f"v{LATER}")
    return folder / "template"


def empty(folder: Path) -> None:
    """Delete everything but the history."""
    for path in folder.glob("[!.]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def tracked(folder: Path) -> dict[str, bytes]:
    """Return the content of what git would commit, by path."""
    listed = git(
        *("ls-files", "-z", "--cached", "--others", "--exclude-standard"), cwd=folder
    )
    paths = {name: folder / name for name in filter(None, listed.split("\0"))}
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def unmerged(folder: Path) -> set[str]:
    """Return the paths in which git shows a conflict."""
    listed = git("ls-files", "--unmerged", cwd=folder).splitlines()
    return {line.partition("\t")[2] for line in listed}


def check_conflicts(python: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the hook by which pre-commit and CI notice a conflict."""
    hook = ("-m", "pre_commit_hooks.check_merge_conflict", "--assume-in-merge")
    return support.run(python, *hook, *tracked(folder), cwd=folder, check=False)
