"""An existing project joins: nothing of it is changed, its pipelines run, one is kept.

The lines that people add are applied as the tool prints them, and no others.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from . import adopted, support
from .support import ROOT, Process, Project, commit_all, git, run

Render = Callable[..., Path]
# Otherwise Kedro's telemetry tries to reach its server.
QUIET = {"DO_NOT_TRACK": "true"}
PAIRED = ("--training", "fit", "--inference", "score", "--input", "customers")


@dataclass
class Adopted:
    """A project of a team, and what adopting it did."""

    project: Project
    report: dict[str, Any]
    before: dict[str, bytes]
    """What was committed before: contents by path."""
    after: dict[str, bytes]
    """The same files right after adopting."""
    added: list[str]
    """The files that git did not know right after adopting."""


def adopt(folder: Path, *arguments: str, template: Path, check: bool = True) -> Process:
    """Run the tool on a project, with a template of its own."""
    tool = ROOT / "scripts" / "adopt.py"
    command = (sys.executable, tool, folder, "--template", template, *arguments)
    return run(*command, cwd=folder.parent, check=check)


def contents(folder: Path) -> dict[str, bytes]:
    """Return what git has of a folder: contents by path."""
    names = git("ls-files", "-z", cwd=folder).split("\0")
    return {name: (folder / name).read_bytes() for name in filter(None, names)}


def add_lines(folder: Path, report: dict[str, Any]) -> None:
    """Add to each file what the report says, where it says it."""
    for addition in report["additions"]:
        file = folder / addition["file"]
        lines = file.read_text("utf-8").splitlines()
        after = addition["after"]
        at = lines.index(after) + 1 if after else len(lines)
        lines[at:at] = addition["lines"]
        file.write_text("\n".join([*lines, ""]), "utf-8")


def join(project: Project, template: Path, *arguments: str) -> Adopted:
    """Adopt a committed project, and keep what it was before."""
    folder = project.path
    before = contents(folder)
    done = adopt(folder, *arguments, "--json", template=template)
    added = git("ls-files", "--others", "--exclude-standard", cwd=folder).split()
    return Adopted(project, json.loads(done.stdout), before, contents(folder), added)


@pytest.fixture(scope="module")
def base(render: Render) -> Path:
    """The Python of an environment with all that the template's projects need."""
    folder = render()
    support.lock(folder)
    python = support.interpreter(">=3.11,<3.14")
    assert python, "No Python from 3.11 to 3.13 is installed."
    return support.base_environment(folder, python) / "bin" / "python"


@pytest.fixture(scope="module")
def churn(
    template: Path, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Adopted:
    """A team's own style; in its environment is nothing but its requirements.txt."""
    folder = tmp_path_factory.mktemp("churn") / "churn-models"
    header = "tenure,calls,left"
    files = adopted.with_rows(adopted.CHURN, "data/01_raw/customers.csv", header)
    adopted.write_project(folder, files)
    run("uv", "venv", "--quiet", "--python", base, folder / ".venv", cwd=folder)
    command = ("uv", "pip", "install", "--quiet", "--requirement", "requirements.txt")
    project = Project(folder, "churn", base, QUIET)
    constraints = template / "template" / "constraints.txt"
    project.run(*command, "--constraint", constraints, "--editable", ".")
    return join(project, template, *PAIRED, "--sequence", "clean,fit")


@pytest.fixture(scope="module")
def churn_paired(churn: Adopted) -> Adopted:
    """The same after the lines were added and the commands given."""
    project = churn.project
    project.run("kedro", "run")  # what ran before still runs
    add_lines(project.path, churn.report)
    install, commit, runs = churn.report["then"]
    project.run("uv", *install.split())
    assert commit.startswith("git add . && git commit")
    commit_all(project.path, "Join")
    project.run("kedro", "run", "--pipelines", "clean")
    project.run(*runs.split())
    return churn


@pytest.fixture(scope="module")
def shared(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment for projects whose dependencies are in the base's."""
    environment = tmp_path_factory.mktemp("environment") / ".venv"
    support.link_tree(base.parents[1], environment)
    return environment


@pytest.fixture(scope="module")
def pricing(
    template: Path, base: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Adopted:
    """A project that kedro-mlflow tracks already, with a paired pipeline."""
    folder = tmp_path_factory.mktemp("pricing") / "pricing"
    header = "rooms,age,price"
    files = adopted.with_rows(adopted.PRICING, "data/01_raw/offers.csv", header)
    adopted.write_project(folder, files)
    (folder / ".venv").symlink_to(shared)
    project = Project(folder, "pricing", base, QUIET)
    command = ("uv", "pip", "install", "--quiet", "--no-deps", "--editable", ".")
    project.run(*command)
    order = ("--sequence", "preparing,modelling", "--data", "task=regression")
    return join(project, template, *order)


@pytest.fixture(scope="module")
def pricing_paired(pricing: Adopted) -> Adopted:
    """The same after the lines were added."""
    pricing.project.run("kedro", "run")
    add_lines(pricing.project.path, pricing.report)
    install, *_ = pricing.report["then"]
    pricing.project.run("uv", *install.split())
    commit_all(pricing.project.path, "Join")
    pricing.project.run("kedro", "run")
    return pricing


def ask(project: Project, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the project's server predicts."""
    body = json.dumps({"dataframe_records": rows}).encode()
    headers = {"Content-Type": "application/json"}
    with project.serve() as url:
        request = Request(f"{url}/invocations", body, headers)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["predictions"]


def trace(project: Project) -> dict[str, Any]:
    """Return where the champion comes from."""
    printed = project.run("kedro", "model", "trace", "champion", "--json").stdout
    return json.loads(printed)


def prune(project: Project) -> list[dict[str, Any]]:
    """Let the rules keep nothing and delete at once; plan, apply, return what went."""
    rules = project.path / "conf" / "base" / "artifacts.yml"
    before = text = rules.read_text("utf-8")
    for kept in ("grace_days: 7", "younger_than_days: 30", "all_after_days: 180"):
        assert kept in text
        text = text.replace(kept, re.sub(r"\d+", "0", kept))
    rules.write_text(text.replace("        last: 20", "        last: 1"), "utf-8")
    project.run("kedro", "prune", "plan")
    done = project.run("kedro", "prune", "apply", "--json").stdout
    rules.write_text(before, "utf-8")
    return json.loads(done)


def runs(project: Project) -> set[str]:
    """Return the ids of the runs that are not deleted."""
    script = (
        "import mlflow\n"
        "runs = mlflow.search_runs(search_all_experiments=True, output_format='list')\n"
        "print(*(run.info.run_id for run in runs))"
    )
    return set(project.ask(script).split())


@pytest.mark.run
def test_adopting_changes_no_file_and_commits_nothing(churn: Adopted) -> None:
    assert churn.after == churn.before
    assert churn.added == churn.report["added"]
    assert git("log", "--format=%s", cwd=churn.project.path) == "What the team has\n"
    kept = set(churn.report["kept"])
    assert {"conf/base/globals.yml", "src/churn/settings.py", ".gitignore"} <= kept
    assert kept <= churn.before.keys()


@pytest.mark.run
def test_a_teams_own_style_is_paired_traced_pruned_and_served(
    churn_paired: Adopted,
) -> None:
    project = churn_paired.project
    found = trace(project)
    assert found["breaks"] == []
    (answer,) = ask(project, [{"tenure": 59, "calls": 8}])
    assert answer["risk"] > 0.9
    assert project.run("kedro", "greet").stdout == "Hello from the churn team.\n"
    journal = (project.path / "data/08_reporting/journal.txt").read_text("utf-8")
    assert journal.split() == ["split", "risk.fit", "split", "split", "risk.fit"]
    run, source = found["run"], found["run"]["inputs"]["customers"]["written_by"]
    (needless,) = runs(project) - {run["run_id"], source["run_id"]}
    print(prune(project))


@pytest.mark.run
def test_a_project_with_kedro_mlflow_keeps_its_store_and_its_pair(
    pricing_paired: Adopted,
) -> None:
    project = pricing_paired.project
    print(trace(project))
    print((project.path / "conf/base/artifacts.yml").read_text("utf-8"))
    (answer,) = ask(project, [{"rooms": 10, "age": 5}])
    assert answer["price"] == pytest.approx(35)
