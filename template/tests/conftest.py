"""A sandbox: the project's code and configuration on data and stores of its own."""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol, DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = bootstrap_project(PROJECT).package_name
# Of larger raw data, a sample of this many rows is enough for the tests.
ROWS = 2000


@dataclass(frozen=True)
class Sandbox:
    """A folder that Kedro takes for the project's."""

    folder: Path

    def session(
        self, project: Path | None = None, env: str = "local", **runtime_params: Any
    ) -> KedroSession:
        """Start a session with the sandbox's configuration."""
        pipelines.set_requested(None)  # a run before may have loaded its own only
        return KedroSession.create(
            project_path=project or self.folder,
            conf_source=str(self.folder / "conf"),
            env=env,
            runtime_params=runtime_params,
        )

    def catalog(self) -> CatalogProtocol:
        """Return the project's data sets and typed parameters."""
        return self.session().load_context().catalog

    def write(self, path: str, configuration: dict[str, Any]) -> None:
        """Write a configuration file."""
        file = self.folder / "conf" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(configuration), encoding="utf-8")


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """Copy the configuration, use stores of its own, and sample the raw data."""
    sandbox = Sandbox(tmp_path_factory.mktemp("project"))
    base = sandbox.folder / "conf" / "base"
    shutil.copytree(PROJECT / "conf" / "base", base)
    (sandbox.folder / "conf" / "local").mkdir()
    settings = yaml.safe_load((base / "mlflow.yml").read_text(encoding="utf-8"))
    stores = importlib.import_module(f"{PACKAGE}.mlops.stores")
    store = stores.sqlite_uri(str(sandbox.folder / "mlflow.db"))
    settings["server"] = {"mlflow_tracking_uri": store, "mlflow_registry_uri": store}
    artifacts = (sandbox.folder / "mlartifacts").as_uri()
    settings["tracking"]["experiment"] = {
        "name": PACKAGE,
        "create_experiment_kwargs": {"artifact_location": artifacts},
    }
    sandbox.write("base/mlflow.yml", settings)

    samples = {}
    catalog = sandbox.session(project=PROJECT).load_context().catalog
    for name in pipelines["data_processing"].inputs():
        if not name.startswith("param"):
            data = catalog.load(name)
            if name == "raw_data" and len(data) > ROWS:
                data = data.sample(ROWS, random_state=0).sort_index()
            path = sandbox.folder / "data" / f"{name}.pkl"
            path.parent.mkdir(exist_ok=True)
            pd.to_pickle(data, path)
            samples[name] = {"type": "pickle.PickleDataset", "filepath": str(path)}
    sandbox.write("local/catalog_samples.yml", samples)
    return sandbox


@pytest.fixture(scope="session")
def module() -> Callable[[str], Any]:
    """Return a function that imports a module by its path in the package."""
    return lambda path: importlib.import_module(f"{PACKAGE}.{path}")


@pytest.fixture(scope="session")
def parameters(sandbox: Sandbox) -> dict[str, Any]:
    """Return the project's parameters, validated and typed as the nodes get them."""
    return sandbox.session().load_context().params


@pytest.fixture(scope="session")
def raw(sandbox: Sandbox) -> pd.DataFrame:
    """Return the sampled raw data."""
    return sandbox.catalog().load("raw_data")


@pytest.fixture(scope="session")
def processed(sandbox: Sandbox) -> CatalogProtocol:
    """Process the data once; return the catalog that holds what came out."""
    sandbox.session().run(pipeline_names=["data_processing"])
    return sandbox.catalog()


@pytest.fixture(scope="session")
def trained(
    sandbox: Sandbox, processed: CatalogProtocol, module: Callable[[str], Any]
) -> CatalogProtocol:
    """Train, register and score once; return the catalog that holds what came out."""
    sandbox.session().run(pipeline_names=["training"])
    catalog = sandbox.catalog()
    name = catalog["champion"].name
    if module("mlops.registry").version_of(name, "champion") is None:  # it waits
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")
    sandbox.session().run(pipeline_names=["batch_inference"])
    return catalog


@pytest.fixture(scope="session")
def infer(trained: CatalogProtocol) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return what the inference pipeline answers to raw instances."""
    pipelines.set_requested(None)
    inference = pipelines["inference"]
    fitted = {name: trained.load(name) for name in inference.inputs() - {"instances"}}

    def answer(instances: pd.DataFrame) -> pd.DataFrame:
        data = {**fitted, "instances": instances}
        catalog = DataCatalog(
            {name: MemoryDataset(each) for name, each in data.items()}
        )
        (output,) = SequentialRunner().run(inference, catalog).values()
        return output.load()

    return answer


@pytest.fixture(scope="session")
def held_out(trained: CatalogProtocol) -> pd.DataFrame:
    """Return the instances that no model was fitted on."""
    return trained.load("instances")[trained.load("labels")["held_out"]]
