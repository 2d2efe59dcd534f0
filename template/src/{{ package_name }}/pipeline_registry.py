"""All pipelines by name; here training is paired with the inference that is logged."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline
from kedro_mlflow.pipeline import pipeline_ml_factory

# What `kedro run` alone does, one MLflow run each: a kedro-mlflow model is logged
# after its pipeline has ended, and would be lost if the pipelines were joined.
SEQUENCE = ("data_processing", "training", "batch_inference")


def register_pipelines() -> dict[str, Pipeline]:
    """Return every folder of ``pipelines/`` that has a ``create_pipeline``."""
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum(pipelines.values(), Pipeline([]))
    if "training" in pipelines:
        both = pipelines["training"]
        pipelines["training"] = pipeline_ml_factory(
            training=both.only_nodes_with_tags("training"),
            inference=both.only_nodes_with_tags("inference"),
            input_name="instances",
        )
    return pipelines
