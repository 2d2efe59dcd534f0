"""A file of instances and the registry's champion → predictions."""

from kedro.pipeline import Pipeline, node

from .nodes import score


def create_pipeline(**kwargs) -> Pipeline:
    """Return the pipeline that scores ``to_score`` with the champion."""
    return Pipeline(
        [
            node(
                score,
                inputs=["to_score", "champion", "params:columns"],
                outputs="scored",
                name="score",
            )
        ]
    )
