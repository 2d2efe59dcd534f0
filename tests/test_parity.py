"""The same 500 rows get the same predictions, whichever way they are asked for."""

import csv
import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .support import Project

ROWS = 500
Answer = list[tuple[float, ...]]

TAKE_ROWS = """
import pandas as pd, sys
rows = pd.read_parquet("data/03_primary/instances.parquet").head(int(sys.argv[1]))
rows.to_csv("data/05_model_input/held_out_instances.csv")
rows.reset_index(drop=True).to_parquet("rows.parquet")
rows.to_json("rows.json", orient="split", index=False, double_precision=15)
"""
# What `kedro run --pipelines inference` does; it gives the outputs to nobody else.
RUN_PIPELINE = """
import sys
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(".")
with KedroSession.create(".") as session:
    outputs = session.run(pipeline_names=["inference"])
frame = outputs["predictions"].load().head(int(sys.argv[1]))
frame.to_json("answer.json", orient="split", index=False, double_precision=15)
"""
LOAD_MODEL = """
import sys
import mlflow, pandas as pd
uri, rows, answer, package = sys.argv[1:]
frame = mlflow.pyfunc.load_model(uri).predict(pd.read_parquet(rows))
assert package not in sys.modules
try:
    __import__(package)
except ModuleNotFoundError:
    frame.to_json(answer, orient="split", index=False, double_precision=15)
"""
OTHER_SCALER = """
import pickle, sys
import cloudpickle
with open(sys.argv[1], "rb") as file:
    preprocessor = pickle.load(file)
scaler = preprocessor["number"]
scaler.mean_ = scaler.mean_ + scaler.scale_
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump(preprocessor, file)
"""


@dataclass
class Paths:
    """The ways to ask for predictions, on a project of its own."""

    project: Project

    @property
    def model(self) -> Path:
        """The folder of the registered model, version 1."""
        (folder,) = self.project.path.glob("mlartifacts/models/*/artifacts")
        return folder

    def pipeline(self) -> Answer:
        """Ask the project's inference pipeline."""
        self.project.run("python", "-c", RUN_PIPELINE, str(ROWS))
        return read_answer(self.project.path / "answer.json")

    def loaded_model(self) -> Answer:
        """Ask the registered model where the project can't be imported."""
        folder, package = self.project.path, self.project.package
        uri, answer = f"models:/{package}@champion", folder / "bare.json"
        rows = folder / "rows.parquet"
        self.project.ask(LOAD_MODEL, uri, str(rows), str(answer), package, bare=True)
        return read_answer(answer)

    def rest(self) -> Answer:
        """Ask the server, in MLflow's protocol."""
        split = json.loads((self.project.path / "rows.json").read_text("utf-8"))
        with self.project.serve() as url:
            request = urllib.request.Request(
                f"{url}/invocations",
                data=json.dumps({"dataframe_split": split}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                predictions = json.load(answer)["predictions"]
        return [tuple(row.values()) for row in predictions]

    def batch_inference(self) -> Answer:
        """Score a file with the champion."""
        self.project.run("kedro", "run", "--pipelines", "batch_inference")
        scored = self.project.path / "data/07_model_output/predictions.csv"
        with scored.open(encoding="utf-8", newline="") as lines:
            # The row key comes first, the version and the time come last.
            return [tuple(map(float, row[1:-2])) for row in list(csv.reader(lines))[1:]]


def read_answer(file: Path) -> Answer:
    """Return the rows of a frame that was written as JSON."""
    return [tuple(row) for row in json.loads(file.read_text("utf-8"))["data"]]


def differing_rows(one: Answer, other: Answer) -> int:
    """Count the rows that are not equal but for the last digits of a text."""
    assert len(one) == len(other) == ROWS
    return sum(a != pytest.approx(b, rel=1e-9) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module", params=["classification", "regression"])
def paths(
    request: pytest.FixtureRequest,
    worked_project: Callable[..., Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Paths:
    """A trained project of its own, with the rows to ask about."""
    answers = {"task": "regression"} if request.param == "regression" else {}
    project = worked_project(**answers).copy(tmp_path_factory.mktemp(request.param))
    project.run("python", "-c", TAKE_ROWS, str(ROWS))
    return Paths(project)


@pytest.fixture(scope="module")
def expected(paths: Paths) -> Answer:
    """What the inference pipeline answers."""
    answer = paths.pipeline()
    assert len(set(answer)) > ROWS / 4, "Rows that are predicted alike prove little."
    return answer


@pytest.mark.run
@pytest.mark.parametrize("path", ["loaded_model", "rest", "batch_inference"])
def test_every_path_predicts_like_the_pipeline(
    paths: Paths, expected: Answer, path: str
) -> None:
    assert differing_rows(getattr(paths, path)(), expected) == 0


@pytest.mark.run
@pytest.mark.parametrize("paths", ["classification"], indirect=True)
@pytest.mark.parametrize(
    "path", ["pipeline", "loaded_model", "rest", "batch_inference"]
)
def test_another_scaler_in_one_path_is_noticed(
    paths: Paths, expected: Answer, path: str
) -> None:
    pipelines_own = paths.project.path / "data/06_models/preprocessor.pkl"
    models_own = paths.model / "artifacts/preprocessor.pkl"
    pickled = pipelines_own if path == "pipeline" else models_own
    content = pickled.read_bytes()
    try:
        paths.project.run("python", "-c", OTHER_SCALER, str(pickled))
        assert differing_rows(getattr(paths, path)(), expected) > ROWS / 2
    finally:
        pickled.write_bytes(content)
