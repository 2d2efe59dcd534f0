"""The page on leaving is executed: what stays is plain Kedro and plain kedro-mlflow."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .support import ROOT, Project, git
from .test_render import StrictLoader
from .tutorial import Block, read_blocks, reader

PAGE = (ROOT / "docs" / "leaving.md").read_text("utf-8")
VERSIONS = """
import json, mlflow
client = mlflow.MlflowClient()
versions = client.search_model_versions("name='mortgage_approval'")
print(json.dumps({v.version: v.run_id for v in versions}))
"""
ANSWERS = """
import json, sys, mlflow, pandas
rows = pandas.read_parquet(sys.argv[2]).head(50)
model = mlflow.pyfunc.load_model(f"models:/mortgage_approval/{sys.argv[1]}")
print(model.predict(rows.reset_index(drop=True)).to_json())
"""


@pytest.fixture(scope="module")
def left(
    worked_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A default project that has one version, and then left as the page says."""
    project = worked_project().copy(tmp_path_factory.mktemp("left"))
    with reader(project.path) as someone:
        someone.environment = project.environment(
            GIT_AUTHOR_NAME="Reader",
            GIT_AUTHOR_EMAIL="reader@example.org",
            GIT_COMMITTER_NAME="Reader",
            GIT_COMMITTER_EMAIL="reader@example.org",
        )
        someone.log = project.path.parent / "terminal.log"
        someone.follow(read_blocks(PAGE))
    return project


@pytest.mark.run
def test_nothing_names_the_templates_code_any_more(left: Project) -> None:
    assert git("status", "--porcelain", cwd=left.path) == ""
    names = set(git("ls-files", cwd=left.path).split()) - {"README.md"}
    found = re.compile(
        r"mlops|start_up|\.progress|model (serve|promote)|SEQUENCE|artifacts\.yml"
    )
    texts = {name: (left.path / name).read_text("utf-8") for name in names}
    assert {n: m[0] for n, text in texts.items() if (m := found.search(text))} == {}
    assert {"src/mortgage_approval/pipelines/training/nodes.py", "uv.lock"} <= names


@pytest.mark.run
def test_plain_kedro_mlflow_logs_a_model_that_answers_like_the_one_before(
    left: Project,
) -> None:
    versions = json.loads(left.ask(VERSIONS))
    assert sorted(versions) == ["1", "2"]
    rows = str(left.path / "data/03_primary/instances.parquet")
    # Where the project can't be imported: each version brings its own code.
    before, after = (
        json.loads(left.ask(ANSWERS, version, rows, bare=True).splitlines()[-1])
        for version in ("1", "2")
    )
    assert before.keys() == after.keys() == {"prediction", "probability"}
    assert after["probability"] == pytest.approx(before["probability"])


@pytest.mark.run
def test_batch_inference_scores_with_the_champion_from_before(left: Project) -> None:
    scored = (left.path / "data/07_model_output/predictions.csv").read_text("utf-8")
    header, *rows = scored.splitlines()
    assert header.startswith("application_id,prediction,probability,model_version")
    assert len(rows) > 300
    assert {row.split(",")[3] for row in rows} == {"1"}


@pytest.mark.run
def test_ci_and_linter_accept_what_is_left(left: Project) -> None:
    file = left.path / ".github" / "workflows" / "ci.yml"
    (job, *_) = yaml.load(file.read_text("utf-8"), StrictLoader)["jobs"].values()
    commands = [step.get("run", "") for step in job["steps"]]
    assert commands[-1].splitlines() == [
        "uv run kedro run --pipelines data_processing",
        "uv run kedro run --pipelines training",
    ]
    left.run("ruff", "check", ".")
    left.run("ruff", "format", "--check", ".")
    assert "AS serve" not in (left.path / "Dockerfile").read_text("utf-8")


@pytest.mark.run
def test_a_page_that_forgets_a_file_would_be_noticed(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    blocks = [b for b in read_blocks(PAGE) if "settings.py" not in b.title]
    with reader(project.path) as someone:
        someone.environment = project.environment()
        someone.log = tmp_path / "terminal.log"
        cut = next(i for i, b in enumerate(blocks) if "uv run kedro" in b.text)
        with pytest.raises(AssertionError, match="cannot import name 'mlops_hooks'"):
            someone.follow([*blocks[:cut], Block("bash", "", "kedro run")])
