"""What a run shows: parameters flattened, its input data, and why it failed."""

import logging
import re
from collections.abc import Generator
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from pydantic import BaseModel

logger = logging.getLogger(__name__)


class TrackingHooks:
    """Completes what kedro-mlflow logs by itself."""

    def __init__(self) -> None:
        self._inputs: dict[str, Any] = {}
        self._free_inputs: set[str] = set()
        self._opened_outside = False

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline
    ) -> None:
        """Remember which data sets, and whether the run, come from outside."""
        import mlflow

        # kedro-mlflow tags the run with these: the class says it, an address does not.
        runner = re.sub(r"<(?:\w+\.)*(\w+) object at .*>", r"\1", run_params["runner"])
        run_params["runner"] = runner
        self._inputs, self._free_inputs = {}, set(pipeline.inputs())
        self._opened_outside = mlflow.active_run() is not None

    @hook_impl(wrapper=True)
    def before_node_run(self, inputs: dict[str, Any]) -> Generator[None, Any, Any]:
        """Show typed parameters to kedro-mlflow as the dictionaries it flattens."""
        typed = {k: v for k, v in inputs.items() if isinstance(v, BaseModel)}
        inputs.update({k: v.model_dump(by_alias=True) for k, v in typed.items()})
        result = yield
        inputs.update(typed)
        return result

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Keep the frames that the pipeline takes, to log them at its end."""
        if dataset_name in self._free_inputs and type(data).__name__ == "DataFrame":
            self._inputs[dataset_name] = data

    @hook_impl(wrapper=True)
    def after_pipeline_run(self, catalog: CatalogProtocol) -> Generator[None, Any, Any]:
        """Log the inputs, let kedro-mlflow finish, and close what it leaves open."""
        import mlflow

        if mlflow.active_run() and self._inputs:
            log_inputs(self._inputs, catalog)
        result = yield
        # kedro-mlflow enters the run once per node and leaves it once.
        while mlflow.active_run() and not self._opened_outside:
            mlflow.end_run()
        return result

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Record why the run failed; kedro-mlflow closes it."""
        import mlflow

        if run := mlflow.active_run():
            fail_run(run.info.run_id, error)


def log_inputs(frames: dict[str, Any], catalog: CatalogProtocol) -> None:
    """Log names, sources, schemas and digests of data sets, no rows, in one call."""
    import mlflow
    from mlflow.data.dataset import Dataset
    from mlflow.data.pandas_dataset import from_pandas

    datasets: list[Dataset | None] = [
        from_pandas(
            frame, source=str(getattr(catalog[name], "_filepath", name)), name=name
        )
        for name, frame in frames.items()
    ]
    mlflow.log_inputs(
        datasets=datasets,
        contexts=["input"] * len(datasets),
        tags_list=[None] * len(datasets),
    )


def end_active_run(error: BaseException) -> None:
    """Close what is open as FAILED; MLflow would call it finished at the end."""
    import mlflow

    while run := mlflow.active_run():
        fail_run(run.info.run_id, error)
        mlflow.end_run("FAILED")


def fail_run(run_id: str, error: BaseException) -> None:
    """Set a run's status to FAILED and its tag ``blueprint.error`` to the reason."""
    import mlflow

    reason = " ".join(f"{type(error).__name__}: {error}".split())
    client = mlflow.MlflowClient()
    client.set_tag(run_id, "blueprint.error", reason[:5000])
    client.set_terminated(run_id, "FAILED")
