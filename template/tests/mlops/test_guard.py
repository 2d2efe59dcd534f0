"""A run that would lose its model, or has a wrong parameter, stops before it starts."""

import mlflow
import pytest
from kedro.framework.project import pipelines
from kedro.runner import ParallelRunner
from kedro.validation import ParameterValidationError


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


@pytest.mark.parametrize(
    ("pipeline", "parameters"),
    [
        ("data_processing", {"columns": {"featurs": {}}}),
        ("data_processing", {"columns": {"features": {"height": "metres"}}}),
        ("training", {"estimator": {"class": "sklearn.NoSuchEstimator"}}),
        ("training", {"estimator": {"arguments": "none"}}),
    ],
)
def test_a_wrong_parameter_stops_before_the_first_node(sandbox, pipeline, parameters):
    session = sandbox.session(**parameters)
    with pytest.raises(ParameterValidationError):
        session.run(pipeline_names=[pipeline])
