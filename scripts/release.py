"""Release the template: refuse unless all agrees, then archive it, commit and tag.

make release VERSION=0.2.0
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from .archive import RELEASES, ROOT, keep, parse, released, unpack
from .questionnaire import is_asked, list_choices, read_questions

TESTED = Path("build/tested")  # the tree that `make test` found right
DAYS = 31  # the most between the resolution that was tested and the release
UNSAFE = ("_tasks", "_jinja_extensions")


def git(*arguments: str, cwd: Path) -> str:
    """Run git and return what it printed."""
    command = ("git", *arguments)
    return subprocess.check_output(command, cwd=cwd, text=True).strip()


def files_of(root: Path) -> dict[str, bytes]:
    """Return what a release holds: every committed file of the template."""
    listed = git("ls-files", "-z", "--", "copier.yml", "template", cwd=root)
    names = filter(None, listed.split("\0"))
    return {name: (root / name).read_bytes() for name in names}


def section_of(changelog: str) -> tuple[str, str, str]:
    """Return version, date and text of the changelog's first release."""
    found = re.search(r"(?ms)^## \[([^]]+)\] - (\S+)\n(.*?)(?=^## |\Z)", changelog)
    return found.groups() if found else ("none", "none", "")


def refusals(version: str, root: Path, today: date) -> Iterator[str]:
    """Yield a sentence for each thing that does not agree with this release."""
    try:
        number = parse(version)
    except ValueError:
        yield f"{version!r} is no version such as 0.2.0."
        return
    last = released(root / RELEASES.relative_to(ROOT))
    if last and number <= parse(last[-1]):
        yield f"{last[-1]} is released already: {version} is no later version."
    if git("status", "--porcelain", cwd=root):
        yield "The tree has changes that are not committed."
    declared = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    if declared["project"]["version"] != version:
        yield f"pyproject.toml says version {declared['project']['version']}."
    yield from changelog_refusals(version, root, today)
    yield from trust_refusals(number, root)
    if last and number[0] == parse(last[-1])[0]:
        yield from api_refusals(last[-1], root)
    tested = root / TESTED
    tree = git("rev-parse", "HEAD^{tree}", cwd=root)
    if not tested.exists() or tested.read_text("utf-8").strip() != tree:
        yield "`make test` has not passed on this commit."


def changelog_refusals(version: str, root: Path, today: date) -> Iterator[str]:
    """Yield what changelog, dated resolution and docs say of another release."""
    named, day, text = section_of((root / "CHANGELOG.md").read_text("utf-8"))
    constraints = (root / "template/constraints.txt").read_text("utf-8")
    resolved = date.fromisoformat(re.findall(r"exclude-newer (\S+)", constraints)[0])
    if named != version:
        yield f"CHANGELOG.md begins with {named}."
    if day != today.isoformat():
        yield f"CHANGELOG.md dates {named} {day}, not {today}."
    if not re.search(r"(?m)^### (Added|Changed|Fixed|Removed)\n\n- ", text):
        yield f"CHANGELOG.md does not say what {named} changes."
    if not 0 <= (today - resolved).days <= DAYS:
        yield (
            f"template/constraints.txt was resolved on {resolved}, more than {DAYS} "
            f"days ago: `make constraints DATE={today}`, and test again."
        )
    table = (root / "docs/compatibility.md").read_text("utf-8")
    if not re.search(rf"(?m)^\| {re.escape(version)} \|", table):
        yield f"docs/compatibility.md has no row for {version}."


def trust_refusals(number: tuple[int, int, int], root: Path) -> Iterator[str]:
    """Yield what would make people trust this release's code on their machine."""
    settings = yaml.safe_load((root / "copier.yml").read_text("utf-8"))
    for key in UNSAFE:
        if key in settings:
            yield f"copier.yml has {key}: every copy and update would need --trust."
    for migration in settings.get("_migrations", []):
        if not isinstance(migration, dict) or "version" not in migration:
            yield "A migration names no version: every update would need --trust."
        elif number[1:] != (0, 0):
            yield f"A migration may come with a major version only, not {number}."


def api_refusals(last: str, root: Path) -> Iterator[str]:
    """Yield what a minor or patch version may not take away from the last release."""
    text = section_of((root / "CHANGELOG.md").read_text("utf-8"))[2]
    removed = text.partition("### Removed")[2].partition("\n### ")[0]
    now = read_questions((root / "copier.yml").read_text("utf-8"))
    with TemporaryDirectory() as folder:
        old = Path(folder)
        unpack(last, old, root / RELEASES.relative_to(ROOT))
        paths = {str(one.relative_to(old)) for one in old.rglob("*") if one.is_file()}
        before = read_questions((old / "copier.yml").read_text("utf-8"))
    for path in sorted(paths - files_of(root).keys()):
        name = path.removesuffix(".jinja").rpartition("/")[2]
        if name not in removed:
            yield (
                f"{path} is gone. Paths are public: an update loses what a team "
                "changed there. Bring it back, or name it under Removed."
            )
    for name, question in before.items():
        if not is_asked(question):
            continue
        if now.get(name, {}).get("type") != question["type"]:
            yield f"The question {name} is gone or has another type: answers are lost."
            continue
        taken = dict(list_choices(now[name]))
        lost = [value for value, _ in list_choices(question) if value not in taken]
        if lost:
            yield f"{name} no longer takes {', '.join(lost)}."


def build_docs(root: Path) -> list[str]:
    """Build the documentation; return why it can't be built, or is out of date."""
    done = subprocess.run(
        ["make", "--no-print-directory", "docs"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return [f"`make docs` fails:\n{done.stdout}{done.stderr}"]
    changed = git("status", "--porcelain", "docs", cwd=root)
    return [f"`make docs` changes pages: commit {changed}"] if changed else []


def main(arguments: list[str] | None = None) -> int:
    """Release, or say why not; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="make release",
        description="Archive the template under tests/releases, commit it and tag it.",
        epilog="Example: make release VERSION=0.2.0",
    )
    parser.add_argument("version", help="what it is called, such as 0.2.0")
    version, root = parser.parse_args(arguments).version, ROOT
    reasons = list(refusals(version, root, datetime.now(UTC).date()))
    reasons += [] if reasons else build_docs(root)
    if reasons:
        print(f"{version} is not released:", *reasons, sep="\n  ", file=sys.stderr)
        return 1
    folder = root / RELEASES.relative_to(ROOT)
    archive = keep(version, files_of(root), folder)
    git("add", str(folder), cwd=root)
    git("commit", "--quiet", "--message", f"Release {version}", cwd=root)
    git("tag", "--annotate", "--message", f"Release {version}", f"v{version}", cwd=root)
    print(f"Released {version}: {archive.relative_to(root)}, and the tag v{version}.")
    print(f"Publish it with: git push origin main v{version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
