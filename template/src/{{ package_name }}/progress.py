"""One line per node, while Kedro's own lines are quiet."""

import itertools
import logging
from time import perf_counter
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)


class ProgressHooks:
    """Logs ``[done/all] node (seconds)``."""

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline
    ) -> None:
        """Note the number of nodes."""
        names = run_params.get("pipeline_names") or ["__default__"]
        self._total, self._numbers = len(pipeline.nodes), itertools.count(1)
        self._started: dict[str, float] = {}
        logger.info("%s: %d nodes", "+".join(names), self._total)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note when the node starts."""
        self._started[node.name] = perf_counter()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log that the node is done, and how long it took."""
        self._log(logging.INFO, node, "")

    @hook_impl
    def on_node_error(self, node: Node) -> None:
        """Log which node failed; the command says why."""
        self._log(logging.ERROR, node, " failed")

    def _log(self, level: int, node: Node, outcome: str) -> None:
        seconds = perf_counter() - self._started[node.name]
        text = f"[{next(self._numbers)}/{self._total}] {node.name}{outcome}"
        logger.log(level, "  %s (%.1f s)", text, seconds)
