"""The candidate and the champion on the same held-out rows → how good each one is."""

from kedro.pipeline import Pipeline, node

from .nodes import evaluate_versions, score_versions


def create_pipeline(**kwargs) -> Pipeline:
    """Return the pipeline whose outcome is judged by conf/base/gates.yml."""
    return Pipeline(
        [
            node(
                score_versions,
                inputs=["raw_data", "labels", "contenders", "params:columns"],
                outputs="version_scores",
                name="score_versions",
            ),
            node(
                evaluate_versions,
                inputs=["version_scores", "params:evaluation"],
                outputs=["evaluation", "evaluation_plots"],
                name="evaluate_versions",
            ),
        ]
    )
