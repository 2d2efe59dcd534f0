"""Check the gates before a run; keep what the pipeline `evaluation` measured."""

from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl


class PromotionHooks:
    """Puts the outcome of an evaluation on the version that was evaluated."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read gates.yml; an unknown key stops here."""
        from . import records
        from .gates import read_gates

        records.project = context.project_path
        self._gates = read_gates(context.config_loader["gates"])
        self._name = context.config_loader["globals"]["registered_model"]

    @hook_impl
    def after_pipeline_run(self, run_result: dict[str, Any]) -> None:
        """Judge what was measured."""
        if "evaluation" in run_result:
            from .evaluation import conclude

            plots = run_result["evaluation_plots"].load()
            conclude(self._name, self._gates, run_result["evaluation"].load(), plots)
