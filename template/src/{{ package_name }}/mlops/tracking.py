"""What a run shows: parameters flattened and masked, its status, and why it failed."""

import re
from collections.abc import Generator
from typing import Any

from kedro.framework.hooks import hook_impl

from .lineage import shared_run
from .logging_rules import is_parameter
from .masking import MASKER


class TrackingHooks:
    """Completes what kedro-mlflow logs by itself."""

    @hook_impl(wrapper=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any]
    ) -> Generator[None, Any, Any]:
        """Join a run that several commands share; a refusal is its failure, too."""
        import mlflow

        # kedro-mlflow tags the run with these: the class says it, an address does not.
        runner = re.sub(r"<(?:\w+\.)*(\w+) object at .*>", r"\1", run_params["runner"])
        run_params["runner"] = runner
        shared_run.join()
        self._opened_outside = mlflow.active_run() is not None
        try:
            return (yield)
        except BaseException as error:
            if self._opened_outside and shared_run.shared_run_id():
                end_active_run(error)
                shared_run.leave("failed")
            raise

    @hook_impl(wrapper=True)
    def before_node_run(self, inputs: dict[str, Any]) -> Generator[None, Any, Any]:
        """Show kedro-mlflow parameters as plain dictionaries, with secrets masked."""
        clear = {name: value for name, value in inputs.items() if is_parameter(name)}
        inputs.update(MASKER.tree(clear))
        result = yield
        inputs.update(clear)
        return result

    @hook_impl(wrapper=True)
    def after_pipeline_run(self) -> Generator[None, Any, Any]:
        """Let kedro-mlflow finish, and close what it leaves open."""
        import mlflow

        result = yield
        shared_run.leave("done")
        # kedro-mlflow enters the run once per node and leaves it once.
        while mlflow.active_run() and not self._opened_outside:
            mlflow.end_run()
        return result

    @hook_impl(wrapper=True)
    def on_pipeline_error(self, error: Exception) -> Generator[None, Any, Any]:
        """Record why the run failed; kedro-mlflow closes it."""
        import mlflow

        if run := mlflow.active_run():
            fail_run(run.info.run_id, error)
        result = yield
        shared_run.leave("failed")
        return result


def end_active_run(error: BaseException) -> None:
    """Close what is open as FAILED; MLflow would call it finished at the end."""
    import mlflow

    while run := mlflow.active_run():
        fail_run(run.info.run_id, error)
        mlflow.end_run("FAILED")


def fail_run(run_id: str, error: BaseException) -> None:
    """Set a run's status to FAILED and its tag ``blueprint.error`` to the reason."""
    import mlflow

    reason = MASKER.text(" ".join(f"{type(error).__name__}: {error}".split()))
    client = mlflow.MlflowClient()
    client.set_tag(run_id, "blueprint.error", reason[:5000])
    client.set_terminated(run_id, "FAILED")
