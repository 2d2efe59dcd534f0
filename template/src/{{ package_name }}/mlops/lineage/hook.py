"""Hook: note what every node read and wrote, and log it once, at the run's end."""

import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from ..artifact_rules import read_artifact_rules, rules_path
from ..errors import BlueprintError
from ..logging_rules import LoggingRule, is_parameter, traits_of
from ..masking import MASKER
from .fingerprints import describe, describe_storage, locate
from .provenance import describe_run
from .shared_run import shared_run_id
from .store import FILE, write_record

logger = logging.getLogger(__name__)


class LineageHooks:
    """Describes each data set once, when it is first read or written."""

    def __init__(self) -> None:
        self._catalog: Any = None
        self._datasets: dict[str, dict[str, Any]] = {}
        self._nodes: list[Node] = []

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Read the rules for what is logged and masked."""
        self._context = context
        self._rules = read_artifact_rules(rules_path(context)).logging
        MASKER.patterns = self._rules.mask_parameters

    @hook_impl
    def after_catalog_created(
        self, conf_creds: dict[str, Any], parameters: dict[str, Any]
    ) -> None:
        """Learn the secrets that no log may hold, and the columns about people."""
        MASKER.learn(conf_creds or {})
        shown = MASKER.tree(parameters)
        roles = r if isinstance(r := shown.get("params:columns"), dict) else {}
        self._seed = shown.get("params:seed")
        self._private = {roles.get("key"), *roles.get("evaluation_only", [])}

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any
    ) -> None:
        """Describe what runs; take over what the catalog declares as artifacts."""
        refuse_secrets_in_model(pipeline)
        self._catalog, self._pipeline = catalog, pipeline
        self._parallel = "ParallelRunner" in run_params["runner"]
        self._datasets, self._nodes = {}, []
        self._staging = tempfile.TemporaryDirectory()
        self._record = describe_run(self._context, run_params)
        self._record |= {"seed": self._seed, "started": now()}
        # kedro-mlflow makes tags of them.
        run_params["runtime_params"] = self._record["runtime_parameters"]
        for name in pipeline.datasets():
            dataset: Any = catalog.get(name)
            if hasattr(dataset, "_logging_activated") and (
                hasattr(dataset, "artifact_path") or self._rule(name).log == "never"
            ):
                dataset._logging_activated = False

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Describe what comes from outside the pipeline."""
        if dataset_name not in self._datasets:
            self._describe(dataset_name, data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Describe what a node wrote; of several chunks, only what is stored."""
        self._describe(dataset_name, None if dataset_name in self._datasets else data)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Note that the node ran."""
        self._nodes.append(node)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self) -> None:
        """Log the run's lineage."""
        if self._parallel:  # the nodes ran in processes without this hook's memory
            self._nodes = self._pipeline.nodes
            for name in self._pipeline.datasets():
                self._describe(name, None)
        self._write("FINISHED", "full")

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Log the lineage as far as it came."""
        self._write("FAILED", self._rules.failed_runs)

    def _rule(self, name: str) -> LoggingRule:
        traits = traits_of(name, self._pipeline.nodes, self._catalog)
        return self._rules.rule_for(name, *traits)

    def _describe(self, name: str, data: Any) -> None:
        if self._catalog is None or is_parameter(name):
            return  # the first in a process of ParallelRunner, which nobody reads
        dataset: Any = self._catalog.get(name)
        rule = self._rule(name)
        facts: dict[str, Any] = {"type": type(dataset).__name__, "rule": rule.log}
        facts["context"] = "input" if name in self._pipeline.inputs() else "output"
        data = data.to_frame() if type(data).__name__ == "Series" else data
        try:
            facts |= self._facts(dataset, data, rule)
            if rule.log == "full":
                facts["logged"] = self._stage(name, data, dataset, facts, rule)
        except Exception as error:  # whatever a class raises: training goes on
            facts["not_described"] = MASKER.text(f"{type(error).__name__}: {error}")
            logger.warning("%s is not described: %s", name, facts["not_described"])
        facts["location"] = MASKER.text(facts.get("location", ""))
        self._datasets[name] = facts

    def _facts(self, dataset: Any, data: Any, rule: LoggingRule) -> dict[str, Any]:
        project, most = self._context.project_path, self._rules.digest_max_bytes
        if rule.log == "never":
            return describe_storage(dataset, 0, project)
        facts = describe(dataset, data, most, project, self._private)
        if rule.preview_rows and "rows" in facts:
            shown = [name for name in data if str(name) not in self._private]
            facts["preview"] = data[shown].head(rule.preview_rows).to_csv(index=False)
        return facts

    def _stage(
        self, name: str, data: Any, dataset: Any, facts: Any, rule: LoggingRule
    ) -> str:
        """Put a copy where it is logged from; return how much is logged and why."""
        size, most = facts.get("bytes", 0), rule.max_bytes or self._rules.max_bytes
        if size > most:
            return f"summary, since {size} bytes are more than max_bytes, {most}"
        declared = hasattr(dataset, "artifact_path")
        below = (dataset.artifact_path or "") if declared else f"data/{name}"
        folder = Path(self._staging.name, below)
        folder.mkdir(parents=True, exist_ok=True)
        system, path = locate(dataset)
        if path:
            target = (folder / path.name).as_posix()
            system.get(path.as_posix(), target, recursive=True)
        elif "rows" in facts:
            data.to_parquet(folder / f"{name}.parquet")
        else:
            return "summary, since it is neither a file nor a frame"
        return "full"

    def _write(self, status: str, most: str) -> None:
        self._record |= {
            "status": status,
            "ended": now(),
            "nodes": [
                {"name": node.name, "inputs": node.inputs, "outputs": node.outputs}
                for node in self._nodes
            ],
            "datasets": self._datasets,
        }
        with self._staging as folder:
            if most != "never":
                name = f"lineage/{uuid4().hex}.json" if shared_run_id() else FILE
                write_record(self._record, name, folder if most == "full" else None)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def refuse_secrets_in_model(pipeline: Any) -> None:
    """Refuse to log a model that would hold a secret parameter in clear."""
    inference = getattr(pipeline, "inference", None)
    for name in inference.inputs() if inference else ():
        if is_parameter(name) and MASKER.is_secret(name):
            raise BlueprintError(
                f"The logged model would hold '{name}' in clear, because a node of "
                "inference takes it: read it from credentials there, or rename it."
            )
