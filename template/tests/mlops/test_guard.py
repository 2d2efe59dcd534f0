"""A training run that would lose its model stops before it starts."""

import mlflow
import pytest
from kedro.framework.project import pipelines
from kedro.runner import ParallelRunner


@pytest.fixture
def refuses(sandbox, module):
    """Return a function that asserts that a run is refused and opens no MLflow run."""

    def count():
        return len(mlflow.search_runs(search_all_experiments=True))

    def check(**options):
        session = sandbox.session()
        session.load_context()
        before = count()
        with pytest.raises(module("mlops.errors").BlueprintError, match="--pipelines"):
            session.run(**options)
        assert count() == before

    return check


def test_training_joined_with_others_is_refused(refuses):
    refuses(pipeline_names=["data_processing", "training"])


def test_training_without_its_last_node_is_refused(refuses, sandbox):
    sandbox.session()
    nodes = pipelines["training"].nodes
    refuses(pipeline_names=["training"], node_names=[node.name for node in nodes[:-1]])


def test_training_only_what_is_missing_is_refused(refuses):
    refuses(pipeline_names=["training"], only_missing_outputs=True)


def test_training_in_several_processes_is_refused(refuses):
    refuses(pipeline_names=["training"], runner=ParallelRunner())
