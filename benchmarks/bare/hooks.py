"""What a team would write to log the same things with kedro-mlflow alone."""

from importlib.metadata import version

import mlflow
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import infer_signature
from pydantic import BaseModel

REQUIREMENTS = (
    "kedro",
    "kedro-datasets",
    "kedro-mlflow",
    "mlflow",
    "pandas",
    "scikit-learn",
)


class LoggingHooks:
    """Parameters flattened, input data sets, and the model's description."""

    def __init__(self):
        self._frames = {}

    @hook_impl
    def before_pipeline_run(self, pipeline):
        self._frames = dict.fromkeys(
            name for name in pipeline.inputs() if not name.startswith("params:")
        )

    @hook_impl(wrapper=True)
    def before_node_run(self, inputs):
        typed = {k: v for k, v in inputs.items() if isinstance(v, BaseModel)}
        inputs.update({k: v.model_dump(by_alias=True) for k, v in typed.items()})
        result = yield
        inputs.update(typed)
        return result

    @hook_impl
    def after_dataset_loaded(self, dataset_name, data):
        if dataset_name in self._frames:
            self._frames[dataset_name] = data

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, pipeline, catalog):
        for name, frame in self._frames.items():
            source = str(catalog[name]._filepath)
            mlflow.log_input(from_pandas(frame, source=source, name=name), "input")
        if not hasattr(pipeline, "inference"):
            return
        instances = catalog.load(pipeline.input_name)
        known = {
            name: catalog.load(name)
            for name in pipeline.inference.inputs() - {pipeline.input_name}
        }
        example = instances.head(5)
        data = {**known, pipeline.input_name: example}
        inputs = DataCatalog({name: MemoryDataset(d) for name, d in data.items()})
        outputs = SequentialRunner().run(pipeline.inference, inputs)
        (answer,) = (dataset.load() for dataset in outputs.values())
        params = {
            name.removeprefix("params:"): value
            for name, value in known.items()
            if name.startswith("params:")
        }
        pipeline.log_model_kwargs.update(
            signature=infer_signature(instances, answer, params),
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
