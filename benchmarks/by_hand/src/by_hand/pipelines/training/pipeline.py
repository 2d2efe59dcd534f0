"""
This is a boilerplate pipeline 'training'
generated using Kedro 1.7.0
"""

from kedro.pipeline import Node, Pipeline  # noqa

from .nodes import fit_model, fit_preprocessor, predict, split, transform

INFERENCE = ["training", "inference"]


def create_pipeline(**kwargs) -> Pipeline:
    return Pipeline([
        Node(split, "raw_data", ["instances", "target"], tags="training"),
        Node(fit_preprocessor, "instances", "preprocessor", tags="training"),
        Node(transform, ["instances", "preprocessor"], "features", tags=INFERENCE),
        Node(fit_model, ["features", "target", "params:estimator"], "model",
             tags="training"),
        Node(predict, ["features", "model"], "predictions", tags=INFERENCE),
    ])
