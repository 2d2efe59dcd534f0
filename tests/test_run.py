"""Every single choice is installed, checked by its own tools, trained and scored."""

import csv
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import variants
from .support import Process, Project, read_toml, run
from .test_render import contents_of, files_of

Render = Callable[..., Path]
Worked = Callable[..., Project]
Check = Callable[..., Process]

SINGLE = variants.single_choices()
VARIANTS = pytest.mark.parametrize(
    "answers",
    [pytest.param(a, marks=[pytest.mark.run] if a else []) for a in SINGLE],
    ids=map(variants.label, SINGLE),
)
# What a run reads. Texts, the licence, the image and CI are checked where rendered.
RUNTIME = (
    "conf/",
    "data/",
    "src/",
    "tests/",
    ".pre-commit",
    "constraints",
    ".gitignore",
)

METRICS = """
import json, mlflow
client = mlflow.MlflowClient()
(found,) = [m for m in client.search_registered_models() if m.name == {name!r}]
version = client.get_model_version({name!r}, "1")
run = client.get_run(version.run_id)
print(json.dumps({{
    "aliases": {{
        alias: str(version)
        for alias, version in client.get_registered_model({name!r}).aliases.items()
    }},
    "metrics": run.data.metrics,
    "status": run.info.status,
}}))
"""


def runtime_of(folder: Path) -> str:
    """Return a digest of what a run depends on: variants that share it, share a run."""
    digest = hashlib.sha256()
    for name, content in contents_of(folder).items():
        if name.startswith(RUNTIME):
            digest.update(name.encode() + b"\0" + content + b"\0")
    settings = read_toml(folder / "pyproject.toml")
    for key in ("license", "license-files"):  # see the test that builds a wheel
        settings["project"].pop(key, None)
    digest.update(repr(settings).encode())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def shared(rendered: Render) -> Callable[[variants.Answers], variants.Answers]:
    """Return a function that gives the first variant with the same runtime files."""
    first: dict[str, variants.Answers] = {}
    for answers in SINGLE:
        first.setdefault(runtime_of(rendered(**answers)), answers)
    return lambda answers: first[runtime_of(rendered(**answers))]


@pytest.fixture
def project(
    answers: variants.Answers,
    shared: Callable[[variants.Answers], variants.Answers],
    worked_project: Worked,
) -> Project:
    """A variant in which `kedro run` was done, perhaps shared with one like it."""
    return worked_project(**shared(answers))


@pytest.fixture(scope="session")
def check() -> Check:
    """Return a function that runs a command once in each project, and fails with it."""
    done: dict[tuple[Any, ...], Process] = {}

    def check(project: Project, *command: str | Path) -> Process:
        key = (project.path, *command)
        if key not in done:
            done[key] = project.run(*command, check=False, timeout=600)
        output = done[key].stdout + done[key].stderr
        assert done[key].returncode == 0, f"{command}:\n{output[-6000:]}"
        return done[key]

    return check


def rows_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def registered(project: Project) -> dict[str, Any]:
    """Return the aliases of the project's model, and the metrics of version 1."""
    (names,) = yaml.safe_load_all((project.path / "conf/base/globals.yml").read_text())
    answered = project.ask(METRICS.format(name=names["registered_model"]))
    return json.loads(answered.splitlines()[-1])


@pytest.mark.run
def test_variants_with_the_same_runtime_files_share_a_run(
    shared: Callable[[variants.Answers], variants.Answers],
    capsys: pytest.CaptureFixture[str],
) -> None:
    sharing: dict[str, list[str]] = {}
    for answers in SINGLE:
        sharing.setdefault(variants.label(shared(answers)), []).append(
            variants.label(answers)
        )
    with capsys.disabled():
        print(f"\n{len(SINGLE)} variants share {len(sharing)} runs:")
        for first, others in sharing.items():
            print(f"  {first}: {', '.join(others[1:]) or 'its own'}")
    apart = ["profile=regulated", "task=regression", "example=False", "tracking=server"]
    assert set(apart) <= sharing.keys()


@VARIANTS
def test_the_linter_and_the_formatter_find_nothing(
    project: Project, check: Check
) -> None:
    check(project, "ruff", "check")
    check(project, "ruff", "format", "--check")


@pytest.mark.run
@VARIANTS
def test_the_type_checker_finds_nothing(project: Project, check: Check) -> None:
    check(project, "mypy")


@VARIANTS
def test_its_own_tests_pass(project: Project, check: Check) -> None:
    assert " passed" in check(project, "pytest").stdout


@pytest.mark.run
@VARIANTS
def test_its_hooks_pass_on_the_fresh_project(project: Project, check: Check) -> None:
    check(project, "pre-commit", "run", "--all-files")


@VARIANTS
def test_a_run_leaves_nothing_that_git_would_commit(project: Project) -> None:
    assert project.run("git", "status", "--porcelain").stdout == ""


@VARIANTS
def test_training_registers_a_version_that_is_good_enough(
    project: Project, answers: variants.Answers
) -> None:
    found = registered(project)
    assert found["status"] == "FINISHED"
    metrics = {k.removeprefix("held_out."): v for k, v in found["metrics"].items()}
    print(metrics)
    if answers.get("example", True) and answers.get("task") == "regression":
        assert metrics["r2"] >= 0.8
        assert metrics["rows"] == sales_from_2010(project)
    elif answers.get("example", True):
        assert metrics["roc_auc"] >= 0.7
        assert 0.17 <= metrics["rows"] / 2380 <= 0.23
    else:
        assert metrics["rows"] > 0
    alias = "challenger" if answers.get("profile") == "regulated" else "champion"
    assert found["aliases"] == {alias: "1"}


def sales_from_2010(project: Project) -> int:
    """Count, apart from the project's own code, the rows that the cut holds out."""
    rows = rows_of(project.path / "data/01_raw/house_sales.csv")
    return sum(int(row["year_sold"]) >= 2010 for row in rows)


@VARIANTS
def test_a_run_scores_every_held_out_row(
    project: Project, answers: variants.Answers
) -> None:
    scored = project.path / "data/07_model_output/predictions.csv"
    if answers.get("profile") == "regulated":
        assert not scored.exists()
        assert "nothing was scored" in project.first_run.stdout
        return
    assert_predictions(project, rows_of(scored), answers.get("task"))


def assert_predictions(
    project: Project, scored: list[dict[str, str]], task: str | None
) -> None:
    """Fail unless each row to score has one plausible prediction of version 1."""
    to_score = rows_of(project.path / "data/05_model_input/held_out_instances.csv")
    key = next(iter(to_score[0]))
    assert [row[key] for row in scored] == [row[key] for row in to_score]
    values = ["prediction"] if task == "regression" else ["prediction", "probability"]
    assert list(scored[0]) == [key, *values, "model_version", "scored_at"]
    assert {row["model_version"] for row in scored} == {"1"}
    assert len({row["scored_at"] for row in scored}) == 1
    if task == "regression":
        assert all(float(row["prediction"]) > 0 for row in scored)
        return
    for row in scored:
        assert 0 <= float(row["probability"]) <= 1
        assert row["prediction"] == str(int(float(row["probability"]) >= 0.5))


@pytest.mark.run
def test_a_regulated_model_scores_once_somebody_made_it_champion(
    worked_project: Worked, tmp_path: Path
) -> None:
    project = worked_project(profile="regulated").copy(tmp_path)
    refused = project.run("kedro", "run", "--pipelines", "batch_inference", check=False)
    assert refused.returncode == 1
    assert "has no champion yet" in refused.stderr
    project.ask(
        "import mlflow; mlflow.MlflowClient().set_registered_model_alias("
        "'mortgage_approval', 'champion', '1')"
    )
    project.run("kedro", "run", "--pipelines", "batch_inference")
    scored = rows_of(project.path / "data/07_model_output/predictions.csv")
    assert_predictions(project, scored, "classification")


@pytest.mark.run
@pytest.mark.parametrize("version", variants.choices()["python_version"])
def test_the_lowest_python_is_the_one_that_ran(
    worked_project: Worked, shared: Callable[..., variants.Answers], version: str
) -> None:
    answers: variants.Answers = {"python_version": version}
    project = worked_project(**shared(answers if version != "3.11" else {}))
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    assert project.run("python", "-c", code).stdout.strip() == version


@pytest.mark.run
def test_runs_on_a_server_are_kept_by_the_server(worked_project: Worked) -> None:
    project = worked_project(tracking="server")
    assert project.env["MLFLOW_TRACKING_URI"].startswith("http://127.0.0.1:")
    assert not (project.path / "mlflow.db").exists()
    assert not (project.path / "mlartifacts").exists()
    assert not (project.path / "mlruns").exists()


def test_databricks_is_addressed_with_three_level_names(rendered: Render) -> None:
    folder = rendered(tracking="databricks")
    settings = yaml.safe_load((folder / "conf/base/mlflow.yml").read_text())
    assert settings["server"] == {
        "mlflow_tracking_uri": "${env:MLFLOW_TRACKING_URI,databricks}",
        "mlflow_registry_uri": "${env:MLFLOW_REGISTRY_URI,databricks-uc}",
    }
    experiment = settings["tracking"]["experiment"]["name"]
    assert experiment == "${env:MLFLOW_EXPERIMENT_NAME,/Shared/mortgage_approval}"
    names = yaml.safe_load((folder / "conf/base/globals.yml").read_text())
    assert names["registered_model"] == "main.default.mortgage_approval"


def test_local_stores_are_in_the_project(rendered: Render) -> None:
    folder = rendered(tracking="local")
    settings = yaml.safe_load((folder / "conf/base/mlflow.yml").read_text())
    assert settings["server"] == {"mlflow_tracking_uri": "${project_sqlite:mlflow.db}"}


@pytest.mark.parametrize("licence", variants.choices()["license"])
def test_the_wheel_carries_the_licence(
    render: Render, tmp_path: Path, licence: str
) -> None:
    folder = render(license=licence)
    run("uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, cwd=folder)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    carried = [name for name in names if name.endswith("/licenses/LICENSE")]
    expected = {"none": [], "proprietary": ["LicenseRef-Proprietary"]}
    expressions = [
        line.removeprefix("License-Expression: ")
        for line in lines
        if line.startswith("License-Expression: ")
    ]
    assert expressions == expected.get(licence, [licence])
    assert len(carried) == len(expressions)
    assert "LICENSE" not in files_of(folder) or carried
