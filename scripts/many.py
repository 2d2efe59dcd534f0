#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["copier>=9.19,<10"]
# ///
"""Show which of many checkouts are behind the template, and update the clean ones.

Whether an update would conflict is tried in a temporary clone: nothing is left behind,
and what is not committed there, or conflicts, is never touched.

Examples:
  uv run scripts/many.py ../projects/*
  uv run scripts/many.py ../projects/* --update --branch update-blueprint
  uv run scripts/many.py ../projects/* --json

Each checkout is one of

  current      it has the latest version
  behind       it would be updated without a conflict: --update does it
  updated      it was, in its working tree: look at `git diff`, test and commit
  conflicts    an update would conflict in the files that are named: do it by hand
  dirty        it has changes that are not committed
  no project   it is no git repository, or was not made from a template
  failed       Copier says why

Ends with 0 if nothing needs a person, 1 if something does, 2 on a wrong command line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import copier
import yaml
from copier.errors import CopierError

ANSWERS = ".copier-answers.yml"
NEEDS_A_PERSON = ("conflicts", "dirty", "no project", "failed")


@dataclass
class Checkout:
    """A folder, and what an update means to it."""

    path: str
    state: str
    version: str = ""
    latest: str = ""
    detail: list[str] = field(default_factory=list)


class GitError(Exception):
    """A git command that failed, with what it said."""


def main() -> int:
    """Read the command line, look at every checkout, show; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkouts", type=Path, nargs="+", help="folders of projects")
    parser.add_argument("--update", action="store_true", help="update the clean ones")
    parser.add_argument("--branch", help="on a new branch of this name")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    if options.branch and not options.update:
        parser.error("--branch needs --update")
    found = []
    for path in options.checkouts:
        found.append(look_at(path.resolve()))
        if options.update and found[-1].state == "behind":
            bring_up(found[-1], options.branch)
    listed = [asdict(each) for each in found]
    print(json.dumps(listed, indent=2) if options.json else show(found))
    return int(any(each.state in NEEDS_A_PERSON for each in found))


def look_at(path: Path) -> Checkout:
    """Return what an update would do to a checkout, without touching it."""
    answers = path / ANSWERS
    stored = yaml.safe_load(answers.read_text("utf-8")) if answers.is_file() else {}
    if "_src_path" not in (stored or {}) or not (version := stored.get("_commit")):
        return Checkout(str(path), "no project", detail=[f"no {ANSWERS} of a template"])
    checkout = Checkout(str(path), "current", version=str(version).removeprefix("v"))
    try:
        if changed := git(path, "status", "--porcelain", "--", ".").splitlines():
            checkout.state = "dirty"
            checkout.detail = [line[3:] for line in changed]
        elif latest := newer_version(path):
            checkout.latest = latest
            checkout.detail = try_update(path)
            checkout.state = "conflicts" if checkout.detail else "behind"
        else:
            checkout.latest = checkout.version
    except (CopierError, GitError, ValueError) as error:
        checkout.state, checkout.detail = "failed", [" ".join(str(error).split())]
    return checkout


def newer_version(path: Path) -> str | None:
    """Return the template's latest version, None if the project has it."""
    command = [sys.executable, "-m", "copier", "check-update", "--output-format=json"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    if done.returncode:
        raise GitError(done.stderr.strip().splitlines()[-1])
    answer = json.loads(done.stdout)
    return str(answer["latest_version"]) if answer["update_available"] else None


def try_update(path: Path) -> list[str]:
    """Update a temporary clone; return the files that conflict."""
    top = Path(git(path, "rev-parse", "--show-toplevel").strip())
    with tempfile.TemporaryDirectory() as folder:
        git(top, "clone", "--quiet", "--shared", str(top), folder)
        clone = Path(folder) / path.relative_to(top)
        update(clone)
        return conflicts(clone)


def bring_up(checkout: Checkout, branch: str | None) -> None:
    """Update a checkout whose update does not conflict, on a new branch if named."""
    path = Path(checkout.path)
    try:
        if branch:
            git(path, "switch", "--quiet", "--create", branch)
        update(path)
    except (CopierError, GitError, ValueError) as error:
        checkout.state, checkout.detail = "failed", [" ".join(str(error).split())]
        return
    checkout.state = "updated"


def update(path: Path) -> None:
    """Let Copier update a project without trust; new questions get their defaults."""
    copier.run_update(
        path,
        defaults=True,
        overwrite=True,
        quiet=True,
        skip_answered=True,
        unsafe=False,
    )


def conflicts(path: Path) -> list[str]:
    """Return the files that an update left with a conflict."""
    listed = git(path, "ls-files", "--unmerged", "-z").split("\0")
    return sorted({entry.partition("\t")[2] for entry in listed if entry})


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints.

    Raises:
        GitError: if it fails.
    """
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise GitError(done.stderr.strip() or f"`{' '.join(command)}` failed")
    return done.stdout


def show(found: list[Checkout]) -> str:
    """Return a table for people, and how many checkouts are in each state."""
    common = os.path.commonpath([Path(each.path).parent for each in found])
    rows = [("checkout", "version", "latest", "state", "")]
    rows += [
        (
            os.path.relpath(each.path, common),
            each.version,
            each.latest,
            each.state,
            ", ".join(each.detail[:3]) + (" …" if len(each.detail) > 3 else ""),
        )
        for each in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    counts = Counter(each.state for each in found)
    total = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    these = "1 checkout" if len(found) == 1 else f"{len(found)} checkouts"
    return "\n".join([*map(str.rstrip, lines), "", f"{these}: {total}."])


if __name__ == "__main__":
    sys.exit(main())
