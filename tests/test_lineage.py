"""Any model leads back to its data, code and parameters, and no secret is kept."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .support import Project, commit_all, git

RAW = "data/01_raw/mortgage_applications.csv"


def query(project: Project, sql: str) -> list[tuple[Any, ...]]:
    """Return rows of the project's tracking database."""
    with sqlite3.connect(project.path / "mlflow.db") as database:
        return database.execute(sql).fetchall()


def latest_run(project: Project) -> str:
    """Return the id of the run that was started last."""
    return query(project, "SELECT run_uuid FROM runs ORDER BY start_time DESC")[0][0]


def records(project: Project, run_id: str) -> list[dict[str, Any]]:
    """Return what each command of a run recorded."""
    file = project.path / "mlartifacts" / run_id / "artifacts" / "lineage.json"
    return json.loads(file.read_text("utf-8"))


def lineage(project: Project, run_id: str | None = None) -> dict[str, Any]:
    """Return what a run's only command recorded, by default that of the latest run."""
    (record,) = records(project, run_id or latest_run(project))
    return record


def run_before(found: dict[str, Any]) -> dict[str, Any]:
    """Return the run that processed the data of a traced training."""
    return found["run"]["inputs"]["instances"]["written_by"]


def trace(project: Project, subject: str = "champion") -> dict[str, Any]:
    """Return what `kedro model trace` tells programs."""
    return json.loads(project.run("kedro", "model", "trace", subject, "--json").stdout)


@pytest.fixture(scope="module")
def champion(worked_project: Callable[..., Project]) -> dict[str, Any]:
    """The trace of the worked project's champion."""
    return trace(worked_project())


def test_the_champion_leads_to_the_raw_file_the_commit_and_the_parameters(
    worked_project: Callable[..., Project], champion: dict[str, Any]
) -> None:
    project, found = worked_project(), champion
    assert found["breaks"] == []
    assert found["versions"] == {f"{project.package} version 1": ["champion"]}
    (command,) = found["run"]["commands"].values()
    assert command["commit"] == git("rev-parse", "HEAD", cwd=project.path).strip()
    assert command["dirty"] is False
    assert command["parameters"]["estimator"]["arguments"]["learning_rate"] == 0.05
    assert command["seed"] == 20
    assert found["run"]["metrics"]["held_out.roc_auc"] > 0.5
    processing = run_before(found)
    raw = processing["inputs"]["raw_data"]
    content = (project.path / RAW).read_bytes()
    assert raw["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert raw["location"] == RAW
    assert raw["rows"] == content.count(b"\n") - 1
    (command,) = processing["commands"].values()
    assert list(command["parameters"]) == ["columns", "held_out"]
    record = lineage(project, found["run"]["run_id"])
    assert record["packages"]["kedro"].startswith("1.")
    # People read the same as a tree.
    shown = project.run("kedro", "model", "trace").stdout
    assert shown.endswith("The trail is whole.\n")
    assert raw["digest"] in "".join(shown.split())


FIND = """
import json, sys
from pathlib import Path
from {package}.mlops.lineage.trace import Trail
trails = [Trail("{package}", subject, Path.cwd()) for subject in sys.argv[1:]]
print(json.dumps([trail.tree["run"]["run_id"] for trail in trails]))
"""


def test_uri_alias_version_model_and_run_lead_to_the_same_run(
    worked_project: Callable[..., Project],
) -> None:
    project = worked_project()
    ((run_id, model),) = query(
        project, "SELECT source_run_id, model_id FROM logged_models"
    )
    name = project.package
    subjects = [
        *("champion", "1", f"models:/{name}/1", f"models:/{name}@champion"),
        *(f"models:/{model}", run_id, f"runs:/{run_id}"),
    ]
    found = json.loads(project.ask(FIND.format(package=name), *subjects))
    assert found == [run_id] * 7


def test_every_data_set_of_every_node_is_described_and_shown_by_mlflow(
    worked_project: Callable[..., Project], champion: dict[str, Any]
) -> None:
    project, run = worked_project(), champion["run"]
    record = lineage(project, run["run_id"])
    assert len(record["nodes"]) == 7
    used = {
        name
        for node in record["nodes"]
        for name in node["inputs"] + node["outputs"]
        if not name.startswith("params:")
    }
    assert used == set(record["datasets"])
    for name, facts in record["datasets"].items():
        assert facts["digest"].startswith("sha256:"), name
        assert facts["type"], name
    predictions = record["datasets"]["predictions"]
    assert predictions["rows"] == 2380
    assert predictions["types"] == {"prediction": "int64", "probability": "float64"}
    assert record["datasets"]["features"]["bytes"] > 100_000
    logged = query(
        project,
        "SELECT d.name, t.value FROM datasets d "
        "JOIN inputs i ON i.source_id = d.dataset_uuid "
        "JOIN input_tags t ON t.input_uuid = i.input_uuid "
        f"WHERE i.destination_id = '{run['run_id']}'",
    )
    assert dict(logged) == {
        name: "input" if name in ("instances", "labels") else "output" for name in used
    }


def test_no_value_of_a_column_about_people_is_logged(
    worked_project: Callable[..., Project], champion: dict[str, Any]
) -> None:
    run_id = run_before(champion)["run_id"]
    datasets = lineage(worked_project(), run_id)["datasets"]
    assert {"black", "single"} <= set(datasets["raw_data"]["types"])
    assert "loan_to_value" in datasets["raw_data"]["statistics"]
    for facts in datasets.values():
        assert not {"black", "single", "application_id"} & set(facts["statistics"])
        assert "preview" not in facts


def test_rules_decide_what_is_logged_and_trace_sees_one_changed_byte(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    file = project.path / "conf/base/artifacts.yml"
    rules = [
        {"data": "instances", "log": "full"},
        {"data": "labels", "log": "full", "max_bytes": 10},
        {"data": "evaluation_columns", "log": "never"},
        {"data": "raw_data", "log": "summary", "preview_rows": 3},
    ]
    logging = {"rules": rules, "digest_max_bytes": "100KB"}
    file.write_text(
        yaml.safe_dump({**yaml.safe_load(file.read_text()), "logging": logging})
    )
    project.run("kedro", "run", "--pipelines", "data_processing")
    datasets = lineage(project)["datasets"]
    folder = project.path / "mlartifacts" / latest_run(project) / "artifacts"
    logged = {p.relative_to(folder).as_posix() for p in folder.rglob("*.parquet")}
    assert logged == {"data/instances/instances.parquet"}
    assert datasets["labels"]["logged"].endswith("more than max_bytes, 10")
    assert not {"rows", "types", "content"} & set(datasets["evaluation_columns"])
    preview = datasets["raw_data"]["preview"].splitlines()
    assert len(preview) == 4
    assert not {"black", "single", "application_id"} & set(preview[0].split(","))
    # Beyond digest_max_bytes the file is told by size and time: it is not read again.
    assert datasets["raw_data"]["digest"].startswith("metadata:")
    names = query(project, "SELECT DISTINCT name FROM datasets")
    assert ("instances",) in names

    content = bytearray((project.path / RAW).read_bytes())
    content[-2] ^= 1
    (project.path / RAW).write_bytes(content)
    breaks = trace(project)["breaks"]
    assert any(f"raw_data ({RAW}) changed on disk since" in line for line in breaks)


SECRET_PIPELINE = '''
"""A pipeline that is handed secrets, and talks about them."""

from kedro.pipeline import Pipeline, node


def call(raw, service):
    if service["fails"]:
        raise ValueError(f"{service} at postgresql://me:planted-uri@db.example/x")
    return raw.head(1)


def create_pipeline(**kwargs) -> Pipeline:
    """Return the pipeline."""
    return Pipeline([node(call, ["raw_data", "params:service"], "called")])
'''


def test_no_planted_secret_reaches_store_or_database(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    folder = project.path / "src" / project.package / "pipelines" / "secretive"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .pipeline import create_pipeline\n")
    (folder / "pipeline.py").write_text(SECRET_PIPELINE)
    (project.path / "conf/local/credentials.yml").write_text(
        "db:\n  con: postgresql://me:planted-credential@db.example/x\n"
    )
    (project.path / "conf/base/catalog_db.yml").write_text(
        "warehouse:\n  type: pandas.SQLTableDataset\n  table_name: t\n"
        "  credentials:\n    con: postgresql://me:planted-uri@db.example/x\n"
    )
    (project.path / "conf/base/parameters_service.yml").write_text(
        "service:\n  fails: false\n  url: ${env:SERVICE_URL}\n"
        "  api_token: planted-parameter\n  shown: visible-value\n"
    )
    env = {"SERVICE_URL": "https://planted-environment"}
    command = ("kedro", "run", "--pipelines", "secretive")
    given = "service.password=planted-option"
    project.run(*command, "--params", given, env=env)
    record = lineage(project)
    commit_all(project.path, "Be secretive")
    failing = f"{given},service.fails=true"
    failed = project.run(*command, "--params", failing, env=env, check=False)
    assert failed.returncode == 1
    assert lineage(project)["status"] == "FAILED"

    files = [p for p in (project.path / "mlartifacts").rglob("*") if p.is_file()]
    hits = [
        file
        for file in [project.path / "mlflow.db", *files]
        if b"planted-" in file.read_bytes()
    ]
    assert hits == []
    # The test would see a secret: what is none is there.
    params = dict(query(project, "SELECT key, value FROM params"))
    assert params["service.shown"] == "visible-value"
    assert params["service.api_token"] == params["service.url"] == "***"
    assert params["service.password"] == "***"
    assert record["parameters"]["service"]["url"] == "${env:SERVICE_URL}"
    assert "visible-value" in record["code"]["patch"]
    assert "masked" in record["code"]["lost"]
    assert record["command"].endswith("--params ***")

    # Running it again takes what is masked, and asks for it.
    again = ("kedro", "model", "reproduce", latest_run(project))
    refused = project.run(*again, "--params", given, env=env, check=False)
    assert refused.returncode == 1
    assert "Parameter service.api_token is masked" in refused.stderr

    # Without the pattern it would be there, and the test would see it.
    rules = project.path / "conf/base/artifacts.yml"
    rules.write_text(rules.read_text().replace("*_token", "*_no_token"))
    project.run(*command, env=env)
    assert b"planted-parameter" in (project.path / "mlflow.db").read_bytes()


COUNT = """
import json, logging, sys
from pathlib import Path
from kedro.framework.project import pipelines, settings
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline, node

bootstrap_project(Path.cwd())
logging.disable()
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

calls = []
for name, function in list(vars(SqlAlchemyStore).items()):
    if callable(function) and not name.startswith("_"):
        def counted(self, *args, _name=name, _function=function, **kwargs):
            calls.append(_name)
            return _function(self, *args, **kwargs)
        setattr(SqlAlchemyStore, name, counted)

def step(frame):
    return frame.copy()

pipelines.set_requested(["data_processing"])  # or the session would load its own

def count(nodes, lineage):
    names = ["raw_data", *(f"step{i}" for i in range(nodes))]
    chain = [node(step, a, b) for a, b in zip(names, names[1:])]
    pipelines["data_processing"] = Pipeline(chain)
    with KedroSession.create() as session:
        if not lineage:
            for plugin in session._hook_manager.get_plugins():
                if type(plugin).__name__ == "LineageHooks":
                    session._hook_manager.unregister(plugin)
        calls.clear()
        outputs = session.run(pipeline_names=["data_processing"])
    assert list(outputs) == [f"step{nodes - 1}"]
    return len(calls)

count(1, True)
added = [count(n, True) - count(n, False) for n in (5, 100)]
print(json.dumps(added))
"""


def test_lineage_costs_the_same_calls_for_5_and_for_100_nodes(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    answer = project.ask(COUNT).strip().splitlines()[-1]
    few, many = json.loads(answer)
    print(f"Lineage: {few} calls of the store for 5 nodes, {many} for 100 nodes.")
    assert few == many
    assert 3 <= few <= 15


RULES = """
import json, sys
from pydantic import ValidationError
from {package}.mlops.logging_rules import LoggingRules

rules = LoggingRules.model_validate({{"rules": [
    {{"data": "a*", "log": "full"}},
    {{"tags": "debug", "log": "never"}},
    {{"layers": ["primary"], "data": "b", "log": "summary", "preview_rows": 2}},
    {{"data": "*", "log": "never"}},
]}})
found = [
    rules.rule_for(*traits).log
    for traits in (
        ("ab", {{"debug"}}, None), ("b", {{"debug"}}, "primary"),
        ("b", set(), "primary"), ("b", set(), "raw"),
    )
]
found.append(LoggingRules().rule_for("any", set(), None).log)
wrong = []
for rule in (
    {{"log": "full"}}, {{"data": "a", "log": "never", "max_bytes": 1}},
    {{"data": "a", "log": "full", "preview_rows": 1}},
    {{"data": "a", "log": "everything"}}, {{"data": "a", "log": "full", "x": 1}},
):
    try:
        LoggingRules.model_validate({{"rules": [rule]}})
    except ValidationError as error:
        wrong.append(error.errors()[0]["loc"][:2])

from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
catalog = KedroSession.create().load_context().catalog
checked = LoggingRules.model_validate({{"rules": [
    {{"data": "instances", "log": "full"}}, {{"data": "no_such", "log": "full"}},
    {{"data": "instan*", "log": "never"}}, {{"tags": "inference", "log": "summary"}},
    {{"data": "*", "log": "summary"}},
]}})
print(json.dumps([found, wrong, list(checked.problems(catalog))]))
"""


def test_the_first_rule_wins_and_idle_or_contradictory_rules_are_errors(
    worked_project: Callable[..., Project],
) -> None:
    project = worked_project()
    answer = project.ask(RULES.format(package=project.package))
    found, wrong, problems = json.loads(answer.strip().splitlines()[-1])
    assert found == ["full", "never", "summary", "never", "summary"]
    assert wrong == [["rules", 0]] * 5
    assert problems == [
        [["logging", "rules", 1], "this rule matches nothing"],
        [["logging", "rules", 2], "this rule is shadowed by earlier rules"],
    ]


CODE = """
import json, sys
from pathlib import Path
from {package}.mlops.lineage.provenance import describe_code
print(json.dumps([describe_code(Path(folder)) for folder in sys.argv[1:]]))
"""


def test_code_that_git_does_not_hold_is_kept_as_a_patch_or_said_to_be_lost(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project()
    places = [tmp_path / name for name in ("outside", "in/ignored", "in/new")]
    for place in places:
        place.mkdir(parents=True)
        (place / "node.py").write_text("ANSWER = 42\n")
    (tmp_path / "in/.gitignore").write_text("ignored/\n")
    git("init", "--quiet", cwd=tmp_path / "in")
    git("add", ".gitignore", cwd=tmp_path / "in")
    git("commit", "--quiet", "--message", "Begin", cwd=tmp_path / "in")
    answer = project.ask(CODE.format(package=project.package), *map(str, places))
    outside, ignored, new = json.loads(answer)
    assert "without a git commit" in outside["lost"]
    assert ignored["lost"] == "git ignores its folder"
    assert (new["dirty"], "lost" in new) == (True, False)
    assert "+ANSWER = 42" in new["patch"]


@pytest.mark.run
def test_reproduce_refuses_what_names_no_value(
    worked_project: Callable[..., Project],
) -> None:
    for option, expected in (("--with", "NAME==VALUE"), ("--params", "NAME=VALUE")):
        refused = worked_project().run(
            *("kedro", "model", "reproduce", "1", option, "seed"), check=False
        )
        assert refused.returncode == 1
        assert f"seed should be {expected}" in refused.stderr


@pytest.mark.run
def test_reproducing_an_untouched_version_gives_equal_metrics_and_predictions(
    worked_project: Callable[..., Project],
) -> None:
    project = worked_project()
    before = query(project, "SELECT COUNT(*) FROM model_versions, runs")
    stored = set((project.path / "mlartifacts").rglob("*"))
    done = project.run("kedro", "model", "reproduce", "1", "--json", timeout=900)
    done = json.loads(done.stdout)
    assert done["differing"] == []
    items = done["items"]
    recorded, again = items["metric held_out.roc_auc"]
    assert recorded == again > 0.5
    for name in ("model", "predictions"):
        recorded, again = items[f"data {name}"]
        assert recorded == again
        assert again.startswith("sha256:")
    assert query(project, "SELECT COUNT(*) FROM model_versions, runs") == before
    assert set((project.path / "mlartifacts").rglob("*")) == stored
    assert git("worktree", "list", cwd=project.path).count("\n") == 1


@pytest.mark.run
def test_reproduce_names_changed_code_parameter_package_and_refuses_changed_data(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    nodes = project.path / "src" / project.package / "pipelines/training/nodes.py"
    nodes.write_text(
        nodes.read_text().replace("StandardScaler()", "StandardScaler(with_mean=False)")
    )
    commit_all(project.path, "Scale otherwise")
    changed = git("rev-parse", "HEAD", cwd=project.path).strip()
    done = project.run(
        *("kedro", "model", "reproduce", "1", "--json", "--commit", changed),
        *("--params", "seed=21", "--with", "narwhals==2.20.0"),
        check=False,
        timeout=900,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    differing = {item: found["items"][item][1] for item in found["differing"]}
    assert differing["code: commit"] == changed
    assert differing["parameter seed"] == 21
    assert differing["package narwhals"] == "2.20.0"
    assert "data features" in differing
    assert "data instances" not in differing

    with (project.path / RAW).open("a") as file:
        file.write("\n")
    refused = project.run("kedro", "model", "reproduce", "1", check=False)
    assert refused.returncode == 1
    assert f"raw_data ({RAW}) changed on disk since" in refused.stderr
    assert refused.stderr.count("\n") <= 3


@pytest.mark.run
def test_several_commands_write_one_run_that_ends_only_when_told(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    file = project.path / "conf/base/artifacts.yml"
    rules = [{"data": "plots", "log": "full", "max_bytes": 10}]
    rules.append({"data": "*_plot", "log": "full"})
    content = {**yaml.safe_load(file.read_text()), "logging": {"rules": rules}}
    file.write_text(yaml.safe_dump(content))
    opened = project.run("kedro", "model", "start-run")
    assert "features, predictions" in opened.stderr
    run_id = opened.stdout.strip()
    env = {"MLFLOW_RUN_ID": run_id}

    def status() -> str:
        sql = f"SELECT status FROM runs WHERE run_uuid = '{run_id}'"
        return query(project, sql)[0][0]

    tasks = (
        "separate_columns,fit_preprocessor",
        "transform,fit_model",
        "transform,predict,evaluate,plot_reports,plot_importance",
    )
    for nodes in tasks:
        project.run("kedro", "run", "--nodes", nodes, env=env)
        assert status() == "RUNNING"
    project.run("kedro", "model", "end-run", env=env)
    assert status() == "FINISHED"
    found = trace(project, run_id)
    assert found["versions"] == {f"{project.package} version 2": ["challenger"]}
    assert list(found["run"]["inputs"]) == ["raw_data"]
    assert len(found["run"]["commands"]) == 4
    ran = {n["name"] for record in records(project, run_id) for n in record["nodes"]}
    assert len(ran) == 8
    # What the catalog declares as MLflow artifacts obeys the rules, too.
    logged = project.path / "mlartifacts" / run_id / "artifacts"
    assert [p.name for p in logged.rglob("*.png")] == ["permutation_importance.png"]

    run_id = project.run("kedro", "model", "start-run").stdout.strip()
    env = {"MLFLOW_RUN_ID": run_id}
    lost = project.run("kedro", "run", "--nodes", "fit_model", env=env, check=False)
    assert lost.returncode == 1
    assert status() == "FAILED"
    project.run("kedro", "run", "--nodes", "fit_preprocessor", env=env)
    project.run("kedro", "model", "end-run", env=env)
    assert status() == "FAILED"


@pytest.mark.run
def test_with_a_server_too_start_run_prints_the_id_alone(
    worked_project: Callable[..., Project],
    mlflow_server: Callable[[], str],
    tmp_path: Path,
) -> None:
    project = worked_project().copy(tmp_path)
    (project.path / "conf/remote").mkdir()
    settings = {
        "server": {"mlflow_tracking_uri": mlflow_server()},
        "tracking": {"experiment": {"name": "remote"}},
    }
    file = project.path / "conf/remote/mlflow.yml"
    file.write_text(yaml.safe_dump(settings))
    opened = project.run("kedro", "model", "start-run", "--env", "remote")
    assert re.fullmatch("[0-9a-f]{32}\n", opened.stdout)
    nodes = ("--nodes", "separate_columns")
    env = {"MLFLOW_RUN_ID": opened.stdout.strip()}
    project.run("kedro", "run", "--env", "remote", *nodes, env=env)
    shown = ("--env", "remote", "--json", env["MLFLOW_RUN_ID"])
    # The run is open, and its lineage lies on the server.
    found = json.loads(project.run("kedro", "model", "trace", *shown).stdout)
    assert found["run"]["status"] == "RUNNING"
    assert list(found["run"]["inputs"]) == ["raw_data"]
