"""What is registered, under which alias, and what a failure leaves behind."""

import mlflow
import pytest
from mlflow.models import get_model_info


@pytest.fixture
def client():
    """Return a client of the sandbox's stores."""
    return mlflow.MlflowClient()


@pytest.fixture
def name(trained):
    """Return the registered model's name."""
    return trained["champion"].name


def test_the_next_version_is_a_challenger(module, client, name):
    registry = module("mlops.registry")
    before = registry.version_of(name, "champion")
    first = client.get_model_version(name, before)
    model_id = first.source.removeprefix("models:/")
    version, alias = registry.register(name, model_id, first_serves=True)
    assert alias == "challenger"
    assert registry.version_of(name, "challenger") == version != before
    assert registry.version_of(name, "champion") == before


def test_the_logged_model_describes_features_only(name, parameters):
    info = get_model_info(f"models:/{name}@champion")
    columns = parameters["columns"]
    assert info.signature.inputs.input_names() == list(columns.features)
    assert info.signature.outputs.input_names()[0] == "prediction"
    example = mlflow.pyfunc.load_model(f"models:/{name}@champion").input_example
    assert list(example.columns) == list(columns.features)


def test_a_failed_training_leaves_its_reason_and_no_version(sandbox, client, name):
    versions = len(client.search_model_versions(f"name='{name}'"))
    gone = {"type": "pickle.PickleDataset", "filepath": "data/gone.pkl"}
    sandbox.write("broken/catalog.yml", {"instances": gone})
    with pytest.raises(Exception, match=r"gone\.pkl"):
        sandbox.session(env="broken").run(pipeline_names=["training"])
    run = mlflow.last_active_run()
    assert run.info.status == "FAILED"
    assert "gone.pkl" in run.data.tags["blueprint.error"]
    assert len(client.search_model_versions(f"name='{name}'")) == versions
