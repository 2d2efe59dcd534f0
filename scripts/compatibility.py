"""Run the default project on the lowest, the newest and pre-released versions.

Each case is resolved and installed in a folder of its own, does `kedro run` and then
the project's own tests. The outcome is one table (Markdown); progress goes to stderr.
Lowest and newest are claimed to work, so the exit status is 1 if one of them fails;
pre-releases only inform.

Examples:
  python scripts/compatibility.py --python 3.12 --only lowest newest
  python scripts/compatibility.py --record 0.2.0
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests import support  # noqa: E402

PAGE = ROOT / "docs" / "compatibility.md"
# What each case asks of uv when it resolves.
CASES = {
    "lowest": ("--resolution", "lowest-direct"),
    "newest": (),
    "pre-releases": ("--prerelease", "allow"),
}
CLAIMED = ("lowest", "newest")
SHOWN = {
    "kedro": "Kedro",
    "mlflow": "MLflow",
    "kedro-mlflow": "kedro-mlflow",
    "pandas": "pandas",
    "scikit-learn": "scikit-learn",
}
SECONDS = 1800


@dataclass
class Outcome:
    """How far a project came on some versions."""

    case: str
    python: str
    versions: dict[str, str] = field(default_factory=dict)
    failed_at: str = ""
    """The step that failed, empty if none did."""
    reason: str = ""

    @property
    def refuted(self) -> bool:
        """Tell whether this contradicts what the template claims."""
        return bool(self.failed_at) and self.case in CLAIMED


def pythons() -> list[str]:
    """Return the versions of Python that the questionnaire offers."""
    settings = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    return settings["python_version"]["choices"]


def try_case(project: Path, case: str, python: str) -> Outcome:
    """Resolve, install, run and test a copy of a project, until something fails."""
    outcome = Outcome(case, python)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "project"
        ignore = shutil.ignore_patterns(".venv", "uv.lock", "mlflow.db", "mlartifacts")
        shutil.copytree(project, folder, ignore=ignore)
        resolve = (*CASES[case], "--python", python)
        steps = {
            "resolve": ("uv", "lock", *resolve),
            "install": ("uv", "sync", "--locked", *resolve),
            "run": ("uv", "run", "--no-sync", "kedro", "run"),
            "test": ("uv", "run", "--no-sync", "pytest", "--quiet"),
        }
        for step, command in steps.items():
            started = time.perf_counter()
            done = support.run(*command, cwd=folder, check=False, timeout=SECONDS)
            seconds = time.perf_counter() - started
            say(f"{case}, Python {python}: {step} took {seconds:.0f} s")
            if done.returncode:
                say(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
                outcome.failed_at, outcome.reason = step, why(done)
                break
            if step == "install":
                outcome.versions = installed(folder)
    return outcome


def installed(folder: Path) -> dict[str, str]:
    """Return the version of each shown package in a project's environment."""
    listing = ("uv", "pip", "list", "--format", "json", "--python", ".venv")
    packages = json.loads(support.run(*listing, cwd=folder).stdout)
    found = {package["name"].lower(): package["version"] for package in packages}
    return {name: found[name] for name in SHOWN}


def why(done: support.Process) -> str:
    """Return the line of a failed command that tells most."""
    lines = [
        " ".join(line.split()) for line in f"{done.stdout}\n{done.stderr}".split("\n")
    ]
    telling = (
        r"FAILED |ERROR |error: |cause: Because |\W*(\w+\.)*\w*(Error|Exception)\b.*: "
    )
    found = [line for line in lines if re.match(telling, line)]
    return (found or [line for line in lines if line] or ["no output"])[-1]


def say(text: str) -> None:
    """Tell how far it is, beside the table."""
    print(text, file=sys.stderr, flush=True)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(header)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(outcomes: list[Outcome]) -> str:
    """Return the table of what worked on which versions."""
    rows = []
    for one in outcomes:
        reason = one.reason.replace("|", "\\|")[:200]
        said = f"**failed** at {one.failed_at}: {reason}" if one.failed_at else "worked"
        versions = [one.versions.get(name, "-") for name in SHOWN]
        rows.append([one.case, one.python, *versions, said])
    return table(["versions", "Python", *SHOWN.values(), "outcome"], rows)


# What a release was tested with -------------------------------------------------------
def tested_with(folder: Path, release: str) -> list[str]:
    """Return a release's row, from its copier.yml and template/constraints.txt."""
    settings = yaml.safe_load((folder / "copier.yml").read_text("utf-8"))
    pinned = (folder / "template" / "constraints.txt").read_text("utf-8")
    (date,) = re.findall(r"newest versions of (\d{4}-\d\d-\d\d)", pinned)
    versions = {
        name: ", ".join(re.findall(rf"^{name}==([^\s;]+)", pinned, re.M))
        for name in SHOWN
    }
    least = settings["_min_copier_version"]
    python = ", ".join(settings["python_version"]["choices"])
    return [release, date, *versions.values(), python, f"{least} or later"]


def record(page: str, row: list[str]) -> str:
    """Return the page with a release's row, added on top or written anew."""
    line = table(row, []).splitlines(keepends=True)[0]
    old = re.compile(rf"^\| {re.escape(row[0])} \|.*\n", re.M)
    if old.search(page):
        return old.sub(lambda _: line, page)
    return re.sub(
        r"(?m)^\| release .*\n\|[-| ]+\n", lambda found: found[0] + line, page
    )


def run_all(options: argparse.Namespace) -> list[Outcome]:
    """Try every case on every Python."""
    with tempfile.TemporaryDirectory() as folder:
        project = options.project
        if not project:
            template = support.snapshot_template(Path(folder) / "template")
            project = support.render_template(template, Path(folder) / "project")
        return [
            try_case(project, case, python)
            for python in options.python
            for case in options.only
        ]


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--python", nargs="+", default=pythons(), metavar="VERSION")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--project", type=Path, help="instead of the default project")
    parser.add_argument("--json", action="store_true", help="print what programs read")
    parser.add_argument("--record", metavar="RELEASE", help=f"only write {PAGE.name}")
    options = parser.parse_args(arguments)
    if options.project and not (options.project / "pyproject.toml").is_file():
        parser.error(f"{options.project} holds no project: no pyproject.toml is there.")
    return options


def main() -> int:
    """Print the table, or write a release's row into the page."""
    options = parse_options()
    if options.record:
        page = record(PAGE.read_text("utf-8"), tested_with(ROOT, options.record))
        PAGE.write_text(page, "utf-8")
        print(f"Wrote {PAGE.relative_to(ROOT)}.")
        return 0
    outcomes = run_all(options)
    found = json.dumps([asdict(outcome) for outcome in outcomes], indent=2)
    print(found if options.json else show(outcomes))
    return int(any(outcome.refuted for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
