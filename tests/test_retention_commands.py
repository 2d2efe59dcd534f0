"""`kedro prune …` in a project that ran: the commands that people type."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .support import Project

pytestmark = pytest.mark.run
OTHER_RUN = """
import sys
import mlflow
mlflow.set_experiment(sys.argv[1])
with mlflow.start_run():
    mlflow.log_text("of no use", "notes.txt")
"""
HELP = """
import importlib, sys
from click.testing import CliRunner
cli = importlib.import_module(f"{sys.argv[1]}.cli").cli
helps = [CliRunner().invoke(cli, ["prune", n, "--help"]) for n in sys.argv[2:]]
print("\\0".join(shown.output for shown in helps))
"""
PLAN = "data/08_reporting/prune_plan.json"


@pytest.fixture(scope="module")
def project(
    worked_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A private copy of a project that ran once, with rules that keep no old run."""
    project = worked_project().copy(tmp_path_factory.mktemp("prune"))
    file = project.path / "conf/base/artifacts.yml"
    text = file.read_text("utf-8")
    for line in ("last: 20", "younger_than_days: 30", "best:", "- {metric"):
        assert line in text
    kept = [
        line
        for line in text.splitlines()
        if not line.lstrip().startswith(("last: 20", "best:", "- {metric"))
    ]
    text = "\n".join(kept).replace("younger_than_days: 30", "younger_than_days: 0")
    for rule in ("failed_after_days: 30", "all_after_days: 180"):
        text = text.replace(rule, f"{rule.split()[0]} 0")
    file.write_text(f"{text}\n", encoding="utf-8")
    project.ask(OTHER_RUN, project.package)
    return project


def test_a_champion_and_what_it_came_from_outlive_the_strictest_rules(
    project: Project,
) -> None:
    assert "no mistakes" in project.run("kedro", "prune", "check").stdout
    shown = project.run("kedro", "prune", "plan").stdout
    assert "alias champion" in shown
    assert "prune.all_after_days" in shown
    plan = json.loads((project.path / PLAN).read_text("utf-8"))
    marks = [item for item in plan["items"] if item["action"] == "mark"]
    assert marks
    project.run("kedro", "prune", "apply", PLAN)
    status = json.loads(project.run("kedro", "prune", "status", "--json").stdout)
    assert {i["id"] for i in status["marked"]} == {i["id"] for i in marks}
    assert "taken back" in project.run("kedro", "prune", "unmark").stdout

    without_grace(project)
    refused = project.run("kedro", "prune", "apply", PLAN, check=False)
    assert refused.returncode == 1
    assert "other rules" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "nothing undoes that" in project.run("kedro", "prune", "plan").stdout
    project.run("kedro", "prune", "apply", PLAN)
    journal = project.path / "data/08_reporting/prune_journal.jsonl"
    did = [json.loads(line)["did"] for line in journal.read_text("utf-8").splitlines()]
    assert did == ["marked"] * len(marks) + ["deleted"] * len(marks)
    project.run("kedro", "run", "--pipelines", "batch_inference")


def without_grace(project: Project) -> None:
    rules = project.path / "conf/base/artifacts.yml"
    text = rules.read_text("utf-8").replace("grace_days: 7", "grace_days: 0")
    rules.write_text(text, encoding="utf-8")


def test_an_environments_own_rules_count_however_it_was_chosen(
    project: Project,
) -> None:
    own = project.path / "conf/other"
    own.mkdir()
    (own / "artifacts.yml").write_text("logging: {}\nretension: {}\n")
    for options, env in (["--env", "other"], {}), ([], {"KEDRO_ENV": "other"}):
        refused = project.run("kedro", "prune", "check", *options, env=env, check=False)
        assert refused.returncode == 1
        assert "artifacts.yml:2: retension: " in refused.stderr
    project.run("kedro", "prune", "check")


def test_every_command_explains_itself_with_an_example(project: Project) -> None:
    names = ("check", "plan", "apply", "unmark", "status")
    helps = project.ask(HELP, project.package, *names).split("\0")
    for name, shown in zip(names, helps, strict=True):
        assert f"kedro prune {name}" in shown.split("Options:")[0].split("\n", 3)[3]


def test_a_failed_item_ends_non_zero_and_is_named(
    project: Project, tmp_path: Path
) -> None:
    without_grace(project)
    project.ask(OTHER_RUN, project.package)
    project.run("kedro", "prune", "plan")
    plan = json.loads((project.path / PLAN).read_text("utf-8"))
    runs = [i["id"] for i in plan["items"] if i["kind"] == "run" and i["rule"]]
    run = runs[-1]
    (folder,) = project.path.glob(f"mlartifacts/**/{run}")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    failed = project.run("kedro", "prune", "apply", PLAN, check=False)
    assert failed.returncode == 1
    assert f"1 failed: run {run}: " in failed.stderr
    assert list((tmp_path / "elsewhere").rglob("notes.txt"))


def test_a_file_that_cant_be_written_is_named_before_anything_goes(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "below")
    for command in (("plan", "--output"), ("apply", PLAN, "--journal")):
        refused = project.run("kedro", "prune", *command, place, check=False)
        assert refused.returncode == 1
        assert f"Error: {place} can't be written: " in refused.stderr


def test_without_a_plan_apply_says_how_to_make_one(
    project: Project, tmp_path: Path
) -> None:
    refused = project.run(
        "kedro", "prune", "apply", tmp_path / "none.json", check=False
    )
    assert refused.returncode == 1
    assert "write one with `kedro prune plan`" in refused.stderr
