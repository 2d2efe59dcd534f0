"""What an update promises to a team, checked on a project that was updated."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from copier.errors import UnsafeTemplateError

from .history import tracked, unmerged
from .support import commit_all, render_template, update_project
from .test_ownership import owner, rows_of

Edit = Callable[[Path], None]
ANSWERS = ".copier-answers.yml"
Files = dict[str, bytes]


@dataclass(frozen=True)
class Updated:
    """A project's files at each step of an update, and where it is."""

    folder: Path
    old: Files
    """As the older version rendered them."""
    edited: Files
    """As the team left them."""
    new: Files
    """As the newer version renders them for the same answers."""
    after: Files
    """As the update left them."""


def update(
    template: Path, old: str, new: str, edit: Edit, folder: Path, **answers: Any
) -> Updated:
    """Render a version, let a team edit it, and update it without trust.

    Raises:
        UnsafeTemplateError: if the update asks for trust.
    """
    project = render_template(template, folder / "project", f"v{old}", **answers)
    before = tracked_in(project)
    edit(project)
    commit_all(project, "What the team did")
    edited = tracked(project)
    update_project(project, f"v{new}")
    fresh = render_template(template, folder / "fresh", f"v{new}", **answers)
    return Updated(project, before, edited, tracked_in(fresh), tracked(project))


def tracked_in(folder: Path) -> Files:
    """Return the files of a fresh render, which becomes a repository."""
    commit_all(folder, "Start")
    return tracked(folder)


def broken(
    template: Path, old: str, new: str, edit: Edit, folder: Path, **answers: Any
) -> list[str]:
    """Return a sentence for each promise that an update breaks; none is right."""
    try:
        done = update(template, old, new, edit, folder, **answers)
    except UnsafeTemplateError as error:
        return [f"An update needs no trust, but this one asks for it: {error}"]
    rows = rows_of(folder / "fresh")
    yours = {n for n in done.edited | done.new if owner(n, rows) in ("yours", None)}
    added = done.edited.keys() - done.old.keys()
    return [
        *broken_for_the_team(done, yours | added),
        *broken_for_the_template(done, yours | added),
        *broken_answers(done),
    ]


def broken_for_the_team(done: Updated, yours: set[str]) -> list[str]:
    """Return how the update treats what the team wrote or deleted."""
    found = [f"{n}: a conflict where one side only changed." for n in unmerged_in(done)]
    for name in sorted(yours & (done.edited.keys() | done.after.keys())):
        if name not in done.edited:
            found.append(f"{name}: the update brought in a file that is yours.")
        elif done.after.get(name) != done.edited[name]:
            found.append(f"{name} is yours, and the update changed it.")
    deleted = done.old.keys() - done.edited.keys()
    for name in sorted(deleted & done.after.keys() - yours):
        found.append(f"{name} was deleted by the team, and came back.")
    for name in sorted(changed_files(done.old, done.edited) - yours):
        wanted = new_lines(done.old[name], done.edited[name])
        if lost := wanted - lines(done.after.get(name, b"")):
            found.append(f"{name}: an edit of the team is lost: {sorted(lost)[0]!r}")
    return found


def broken_for_the_template(done: Updated, yours: set[str]) -> list[str]:
    """Return what of the template's own files is not as the new version has it."""
    found = []
    edited = changed_files(done.old, done.edited)
    deleted = done.old.keys() - done.edited.keys()
    names = (done.new.keys() | done.after.keys()) - yours - deleted - {ANSWERS}
    for name in sorted(names - edited):
        if done.after.get(name) != done.new.get(name):
            found.append(f"{name} is the template's, and no fresh render of it.")
    for name in sorted((edited - yours) & done.new.keys() - unmerged_in(done)):
        wanted = new_lines(done.old[name], done.new[name])
        if lost := wanted - lines(done.after.get(name, b"")):
            found.append(f"{name} misses what is new in it: {sorted(lost)[0]!r}")
    return found


def broken_answers(done: Updated) -> list[str]:
    """Return which answers the update lost."""
    before, after = (
        yaml.safe_load(files[ANSWERS]) for files in (done.edited, done.after)
    )
    return [
        f"The answer {name}: {value!r} is lost."
        for name, value in before.items()
        if not name.startswith("_") and after.get(name) != value
    ]


def unmerged_in(done: Updated) -> set[str]:
    """Return the paths that git shows as conflicts, or that hold conflict markers."""
    marked = {name for name, text in done.after.items() if b"\n<<<<<<< " in text}
    rejected = {name for name in done.after if name.endswith(".rej")}
    return unmerged(done.folder) | marked | rejected


def changed_files(old: Files, edited: Files) -> set[str]:
    """Return the names of the files whose content differs."""
    return {name for name in old.keys() & edited.keys() if old[name] != edited[name]}


def lines(content: bytes) -> set[bytes]:
    """Return the lines of a file."""
    return set(content.splitlines())


def new_lines(old: bytes, new: bytes) -> set[bytes]:
    """Return the lines that only the second has."""
    return lines(new) - lines(old)
