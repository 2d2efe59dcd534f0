"""One pipeline, two tags: what is trained, and the half of it that is logged."""

from kedro.pipeline import Pipeline, node

from .nodes import fit_model, fit_preprocessor, transform
from .predicting import predict
from .reports import evaluate, plot_importance, plot_reports

BOTH = ["training", "inference"]


def create_pipeline(**kwargs) -> Pipeline:
    """Return all nodes; those tagged ``inference`` become the logged model.

    Every transformation of features belongs to the nodes that carry both tags:
    training runs them too, so that what is served is what was evaluated.
    """
    return Pipeline(
        [
            node(
                fit_preprocessor,
                inputs=["instances", "labels", "params:columns"],
                outputs="preprocessor",
                name="fit_preprocessor",
                tags="training",
            ),
            node(
                transform,
                inputs=["instances", "preprocessor"],
                outputs="features",
                name="transform",
                tags=BOTH,
            ),
            node(
                fit_model,
                inputs=[
                    "features",
                    "labels",
                    "params:columns",
                    "params:estimator",
                    "params:seed",
                ],
                outputs="model",
                name="fit_model",
                tags="training",
            ),
            node(
                predict,
                inputs=["features", "model"],
                outputs="predictions",
                name="predict",
                tags=BOTH,
            ),
            node(
                evaluate,
                inputs=["predictions", "labels", "params:columns"],
                outputs="metrics",
                name="evaluate",
                tags="training",
            ),
            node(
                plot_reports,
                inputs=["predictions", "labels", "params:columns"],
                outputs="plots",
                name="plot_reports",
                tags="training",
            ),
            node(
                plot_importance,
                inputs=[
                    "instances",
                    "labels",
                    "preprocessor",
                    "model",
                    "params:columns",
                    "params:seed",
                ],
                outputs="importance_plot",
                name="plot_importance",
                tags="training",
            ),
        ]
    )
