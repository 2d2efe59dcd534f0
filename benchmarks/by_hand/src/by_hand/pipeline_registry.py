"""Project pipelines."""
from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline
from kedro_mlflow.pipeline import pipeline_ml_factory


def register_pipelines() -> dict[str, Pipeline]:
    """Register the project's pipelines.

    Returns:
        A mapping from pipeline names to ``Pipeline`` objects.
    """
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum(pipelines.values())
    pipelines["training"] = pipeline_ml_factory(
        training=pipelines["training"].only_nodes_with_tags("training"),
        inference=pipelines["training"].only_nodes_with_tags("inference"),
        input_name="instances",
    )
    return pipelines
