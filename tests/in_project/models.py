"""Small kedro-mlflow models with one peculiarity each, and how to load them."""

import importlib
import logging
import os
import sys
import types

import cloudpickle
import mlflow
import pandas as pd
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro_datasets.pickle import PickleDataset
from kedro_mlflow.mlflow import KedroPipelineModel
from mlflow.models import infer_signature

PACKAGE = os.environ["PACKAGE"]
cloudpickle.register_pickle_by_value(sys.modules[__name__])
logging.getLogger("kedro").setLevel(logging.CRITICAL)  # as in the server


def serving(name: str) -> types.ModuleType:
    """Import one of the server's modules."""
    return importlib.import_module(f"{PACKAGE}.mlops.serving.{name}")


EXAMPLE = pd.DataFrame(
    {
        "size": [1.5, 2.0, 3.25, 4.0, 5.5],
        "rooms": [1, 2, 3, 4, 5],
        "colour": ["red", "green", "blue", "red", "blue"],
        "garden": [True, False, True, True, False],
        "note": ["a", None, "b", "c", None],
        "age": [1.0, None, 3.0, 4.0, None],
    }
)


class Artifact:
    """What a node gets besides the rows; a node may change it."""

    def __init__(self) -> None:
        self.factor, self.calls = 2.0, 0


def save(folder, predict, example=EXAMPLE, params=None, signature=None, **more):
    """Save a model of one node, ``predict(rows, artifact, factor)``."""
    artifact = PickleDataset(
        filepath=str(folder / "artifact.pkl"), backend="cloudpickle"
    )
    artifact.save(Artifact())
    parameters = {"factor": 3.0, **(params or {})}
    inputs = ["rows", "artifact", *(f"params:{name}" for name in parameters)]
    pipeline = Pipeline([node(predict, inputs=inputs, outputs="answer")])
    catalog = DataCatalog(
        {
            "rows": MemoryDataset(),
            "artifact": artifact,
            **{f"params:{k}": MemoryDataset(v) for k, v in parameters.items()},
        }
    )
    model = KedroPipelineModel(pipeline, catalog, "rows", **more)
    answer = pd.DataFrame({"answer": [1.0]})
    mlflow.pyfunc.save_model(
        str(folder / "model"),
        python_model=model,
        artifacts=model.extract_pipeline_artifacts(folder),
        signature=signature or infer_signature(example, answer, parameters),
        input_example=example,
        pip_requirements=[],
    )
    return str(folder / "model")


def settings(**options):
    """Return settings as the command makes them."""
    given = {"model_uri": "", "model_name": "m", "env": None, "tokens": ()}
    return serving("settings").Settings(**given, **options)


def load(uri, **options):
    """Load a model as the server does."""
    return serving("versions").load(uri, "champion", settings(**options))


def many_rows(count=300):
    """Return rows that the example does not hold."""
    rows = pd.concat([EXAMPLE] * (count // 5), ignore_index=True)
    rows["size"] = rows["size"] + rows.index / 7
    rows["rooms"] = rows["rooms"] + rows.index
    return rows
