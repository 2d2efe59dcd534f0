"""The half of training that is logged: raw instances and fitted objects → predictions.

A folder of its own, because Kedro looks for one when a pipeline is run by its name.
"""

from kedro.pipeline import Pipeline

from ..training import create_pipeline as create_both


def create_pipeline(**kwargs) -> Pipeline:
    """Return training's nodes that are tagged ``inference``."""
    return create_both().only_nodes_with_tags("inference")
