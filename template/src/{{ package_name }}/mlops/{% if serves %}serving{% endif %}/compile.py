"""A logged kedro-mlflow pipeline as functions and slots, its artifacts shared."""

import inspect
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from kedro.pipeline.node import Node


class NotCompilable(Exception):  # noqa: N818 (it is no error)
    """Says why a model must answer through its own ``predict``."""


@dataclass(frozen=True)
class Compiled:
    """Runs the nodes in order; whatever is not asked for is loaded once, and shared."""

    steps: list[tuple[Node, list[str]]]
    artifacts: dict[str, Any]
    input_name: str
    output_name: str
    # Artifacts that a node changes: every call gets a copy, as in the plain model.
    copied: set[str]

    def __call__(self, frame: Any, params: dict[str, Any]) -> Any:
        """Return what the pipeline answers for the rows of a frame."""
        slots = self.artifacts | {self.input_name: frame}
        slots |= {name: deepcopy(slots[name]) for name in self.copied}
        slots |= {f"params:{name}": value for name, value in params.items()}
        for node, inputs in self.steps:
            slots.update(node.run({name: slots[name] for name in inputs}))
        return slots[self.output_name]


def compile_pipeline(model: Any, copied: set[str] | None = None) -> Compiled:
    """Resolve a loaded model's pipeline once.

    Raises:
        NotCompilable: if it is no kedro-mlflow model, or copies between its nodes.
    """
    from kedro_mlflow.mlflow import KedroPipelineModel

    inner = getattr(model._model_impl, "python_model", None)
    if not isinstance(inner, KedroPipelineModel):
        raise NotCompilable("it is not a kedro-mlflow pipeline")
    nodes, names = inner.pipeline.nodes, inner.pipeline.datasets()
    if lazy := [n.name for n in nodes if inspect.isgeneratorfunction(n.func)]:
        raise NotCompilable(f"node {lazy[0]} is a generator")
    if any("@" in name for name in names):
        raise NotCompilable("it transcodes a data set")
    between = names - {inner.output_name}
    if any(inner.copy_mode.get(name) != "assign" for name in between):
        raise NotCompilable("its data sets are copied between nodes")
    loaded = inner.pipeline.inputs() - {inner.input_name}
    return Compiled(
        steps=[(node, list(dict.fromkeys(node.inputs))) for node in nodes],
        artifacts={name: inner.loaded_catalog.load(name) for name in loaded},
        input_name=inner.input_name,
        output_name=inner.output_name,
        copied=copied or set(),
    )
