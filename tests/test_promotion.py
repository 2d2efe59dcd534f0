"""From trained to trusted, on the example: the story that every champion lives."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from .promotion import Shell, shell
from .support import ROOT, Project, free_port

Worked = Callable[..., Project]

# Half a model: what it predicts with is gone from the raw data's roles.
FEWER_FEATURES = ["debt_to_income", "loan_to_value", "mortgage_credit_score"]
FORGET = """
import mlflow
mlflow.MlflowClient().delete_registered_model_alias(arguments[0], "challenger")
"""
# Each alias' answer to its own example, by the number of rows.
ANSWER = """
import mlflow
name, *aliases = arguments
for alias in aliases:
    model = mlflow.pyfunc.load_model(f"models:/{name}@{alias}")
    print(alias, len(model.predict(model.input_example)))
"""


@pytest.fixture
def opened(worked_project: Worked, tmp_path: Path) -> Iterator[Callable[..., Shell]]:
    """Return a function that copies a project that ran, for commands in one process."""
    with ExitStack() as stack:
        yield lambda **answers: stack.enter_context(
            shell(worked_project(**answers).copy(tmp_path))
        )


@pytest.mark.run
def test_the_whole_story_of_a_regulated_model(opened: Callable[..., Shell]) -> None:
    story = opened(profile="regulated")
    columns = story.project.path / "conf/base/parameters_data_processing.yml"
    features = yaml.safe_load(columns.read_text("utf-8"))["columns"]["features"]
    few = {name: features[name] for name in FEWER_FEATURES}

    # The first version waits, and an empty card and no approval hold it back.
    assert story.aliases() == {"challenger": "1"}
    refused = story.model("promote", fails=True)
    assert "docs/model_card.md lacks Intended use" in refused.stdout
    assert "nobody has approved it" in refused.stdout
    assert "To be filled by a person" in story.read("1", "model_card.md")

    # A good one: its card is filled, and somebody else approves it.
    file = story.project.path / "docs" / "model_card.md"
    file.write_text(file.read_text("utf-8").replace("-->", "-->\n\nA sentence."))
    better = {"learning_rate": 0.05, "max_iter": 100, "max_leaf_nodes": 15}
    boosting = "sklearn.ensemble.HistGradientBoostingClassifier"
    tree = "sklearn.tree.DecisionTreeClassifier"
    good = {"class": tree, "arguments": {"max_depth": 3}}
    story.edit("parameters_training.yml", estimator=good)
    story.train()
    own = story.script("import getpass; print(getpass.getuser())").strip().upper()
    for same in (own, f" {own[0]} {own[1:]}\u200b"):
        no = ("approve", "--version", "2", "--by", same, "--comment", "Mine")
        assert "trained it" in story.model(*no, fails=True).stderr
    yes = ("approve", "--version", "2", "--by", "Ada Lovelace", "--comment", "Read")
    story.model(*yes)
    # Nothing is moved to see what would happen.
    assert story.ask("promote", "--dry-run")["passed"]
    assert story.aliases() == {"challenger": "2"}
    assert story.ask("promote", "--comment", "First one")["promoted"]
    assert story.aliases() == {"champion": "2"}

    # A worse one, of fewer features: refused, with the figures.
    story.edit(columns.name, columns__features=few)
    story.train()
    story.model(*yes[:2], "3", *yes[3:])
    refused = story.model("promote", fails=True)
    assert "Version 3 stays what it is" in refused.stderr
    found = {
        row["gate"]: row
        for row in json.loads(story.read("3", "evaluation/evaluation.json"))["gates"]
    }
    compared = found["roc_auc better by 0"]
    assert not compared["passed"]
    assert compared["figure"] < compared["against"]
    assert "confidence better by -0." in compared["reason"]
    assert "inputs: public_bad_record was removed" in found["signature"]["reason"]
    assert story.aliases() == {"champion": "2", "challenger": "3"}

    # A better one is the challenger until it is promoted.
    story.edit(columns.name, columns__features=features)
    boosted = {"class": boosting, "arguments": better}
    story.edit("parameters_training.yml", estimator=boosted)
    story.train()
    assert story.aliases() == {"champion": "2", "challenger": "4"}
    assert "nobody has approved" in story.model("promote", fails=True).stdout
    story.model(*yes[:2], "4", *yes[3:])
    story.model("promote")
    assert story.aliases() == {"champion": "4", "previous": "2"}

    # It breaks: back within seconds, and forth again.
    rolled = story.ask("rollback", "--comment", "Answers nonsense")
    assert rolled == {"champion": "2", "previous": "4"}
    assert story.aliases() == {"champion": "2", "previous": "4"}
    assert (
        "never champion" in story.model("rollback", "--version", "3", fails=True).stderr
    )

    made = story.ask("history")
    told = [(one["action"], one.get("from"), one["to"]) for one in made]
    assert told == [
        ("refusal", None, "1"),
        ("approval", None, "2"),
        ("promotion", None, "2"),
        ("approval", None, "3"),
        ("refusal", "2", "3"),
        ("refusal", "2", "4"),
        ("approval", None, "4"),
        ("promotion", "2", "4"),
        ("rollback", "4", "2"),
    ]
    assert made[-1]["comment"] == "Answers nonsense"
    log = (story.project.path / "data/08_reporting/promotion.jsonl").read_text("utf-8")
    assert [json.loads(line)["id"] for line in log.splitlines()] == [
        one["id"] for one in made
    ]
    # What pruning protects, by these tags: whoever served, was approved or decided on.
    for version in ("2", "4"):
        assert "blueprint.champion.since" in story.state(version)["tags"]

    compared = story.ask("compare", "champion", "4")
    changed = {row["what"] for row in compared if not row["same"]}
    assert "estimator.arguments.max_iter" in changed
    assert {row["kind"] for row in compared} == {
        *("code", "data", "metric", "parameter", "signature")
    }
    card = story.read("4", "model_card.md")
    for said in ("A sentence.", "Ada Lovelace", "| black", "promotion", "roc_auc"):
        assert said in card.replace("### black", "| black")
    report = story.read("4", "evaluation/report.html")
    assert "data:image/png;base64," in report
    assert "http://" not in report
    assert "https://" not in report

    # Rules that keep nothing take a version that nobody decided on, and neither whoever
    # serves or served, nor what was approved or refused.
    story.train()
    assert story.aliases()["challenger"] == "5"
    story.script(FORGET, story.project.package)
    story.prune_all()
    kept = {row["version"]: row["aliases"] for row in story.ask("list")["versions"]}
    assert kept == {"4": ["previous"], "3": [], "2": ["champion"], "1": []}
    answers = story.script(ANSWER, story.project.package, "champion", "previous")
    assert answers.split() == ["champion", "5", "previous", "5"]


@pytest.mark.run
def test_a_first_version_is_recorded_and_judged_by_its_floor(
    opened: Callable[..., Shell],
) -> None:
    story = opened(profile="essentials")
    assert story.aliases() == {"champion": "1"}
    (first,) = story.ask("history")
    assert first["action"] == "first version"
    found = story.ask("promote", "--dry-run")
    assert [row["gate"] for row in found["gates"]] == [
        "held-out rows",
        "roc_auc at least 0.7",
    ]
    assert found["passed"]
    story.edit("gates.yml", held_out_rows=100_000)
    found = story.ask("promote", "--dry-run")
    assert not found["passed"]
    assert "100000 are needed" in found["gates"][0]["reason"]
    story.edit("gates.yml", treshold=1)
    refused = story.model("promote", fails=True).stderr
    assert "gates.yml can't be used: treshold: Extra inputs" in refused


@pytest.mark.run
def test_gates_statistics_names_and_signatures_by_themselves(
    worked_project: Worked,
) -> None:
    project = worked_project(profile="regulated")
    file = ROOT / "tests" / "inside" / "promotion_rules.py"
    alone = ("-c", os.devnull, "--confcutdir", file.parent, "-p", "no:cacheprovider")
    done = project.run(
        *("python", "-m", "pytest", "-q", "-s", *alone, file),
        env={"PACKAGE": project.package},
    )
    print(done.stdout)
    assert " of 200 pairs promote" in done.stdout


def test_promotion_in_ci_needs_a_release_and_refuses_through_its_pipe(
    rendered: Callable[..., Path],
) -> None:
    file = rendered(tracking="server") / ".github" / "workflows" / "promotion.yml"
    workflow = yaml.safe_load(file.read_text("utf-8"))
    # GitHub runs an explicit bash with pipefail.
    assert workflow["defaults"]["run"]["shell"] == "bash"
    jobs = workflow["jobs"]
    assert {name: job["environment"] for name, job in jobs.items()} == {
        "train": "training",
        "promote": "production",
        "rollback": "production",
    }
    steps = [step["name"] for step in jobs["promote"]["steps"] if "run" in step]
    ask = "Ask the served candidate before the alias moves"
    assert steps.index(ask) < steps.index("Promote")
    assert not (rendered() / ".github" / "workflows" / "promotion.yml").exists()


@pytest.mark.run
def test_ci_asks_the_served_candidate_and_stops_where_it_does_not_answer(
    worked_project: Worked, tmp_path: Path
) -> None:
    project = worked_project(tracking="server")
    file = project.path / ".github" / "workflows" / "promotion.yml"
    steps = yaml.safe_load(file.read_text("utf-8"))["jobs"]["promote"]["steps"]
    (ask,) = [
        step["run"] for step in steps if "served candidate" in step.get("name", "")
    ]
    script = ask.replace("8000", str(free_port()))
    bash = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
    env = {"VERSION": "1", "RUNNER_TEMP": str(tmp_path)}
    asked = project.run(*bash, env=env)
    # The server's last words may follow on the same line.
    answer = asked.stdout[asked.stdout.index('{"predictions"') :]
    found, _ = json.JSONDecoder().raw_decode(answer)
    assert len(found["predictions"]) == 5
    refused = project.run(*bash, env=env | {"VERSION": "99"}, check=False)
    assert refused.returncode != 0
    assert "predictions" not in refused.stdout
