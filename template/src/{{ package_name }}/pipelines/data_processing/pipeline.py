"""Raw data → instances, labels and evaluation-only columns, by row key."""

from kedro.pipeline import Pipeline, node

from .nodes import separate_columns


def create_pipeline(**kwargs) -> Pipeline:
    """Return the pipeline that validates, splits and separates columns only."""
    return Pipeline(
        [
            node(
                separate_columns,
                inputs=["raw_data", "params:columns", "params:held_out"],
                outputs=[
                    "instances",
                    "labels",
                    "evaluation_columns",
                    "held_out_instances",
                ],
                name="separate_columns",
            )
        ]
    )
