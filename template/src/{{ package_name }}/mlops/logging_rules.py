"""Rules at the door: what of a data set is logged at all."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, model_validator

Amount = Literal["never", "summary", "full"]
Names = Annotated[
    list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)
]
SELECTORS = ("data", "tags", "layers")


class LoggingRule(BaseModel):
    """How much is logged of the data sets that every given selector matches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Names = []
    tags: Names = []
    layers: Names = []
    log: Amount
    max_bytes: ByteSize | None = None
    preview_rows: int = 0

    @model_validator(mode="after")
    def _is_consistent(self) -> "LoggingRule":
        if not any(getattr(self, selector) for selector in SELECTORS):
            raise ValueError("a rule needs data, tags or layers to match")
        if self.max_bytes is not None and self.log != "full":
            raise ValueError("max_bytes limits what is logged in full; this rule isn't")
        if self.preview_rows and self.log != "summary":
            raise ValueError("preview_rows belong to a summary; this rule has none")
        return self

    def matches(self, name: str, tags: set[str], layer: str | None) -> bool:
        """Tell whether a data set's name, nodes' tags and layer are all selected."""
        found = {"data": {name}, "tags": tags, "layers": {layer or ""}}
        return all(
            any(fnmatchcase(value, glob) for value in found[key] for glob in globs)
            for key in SELECTORS
            if (globs := getattr(self, key))
        )


class LoggingRules(BaseModel):
    """The key ``logging`` of ``artifacts.yml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: ByteSize = ByteSize(100 * 10**6)
    digest_max_bytes: ByteSize = ByteSize(256 * 10**6)
    failed_runs: Amount = "summary"
    mask_parameters: Names = ["*password*", "*secret*", "token", "*_token", "*api_key*"]
    rules: list[LoggingRule] = []

    def rule_for(self, name: str, tags: set[str], layer: str | None) -> LoggingRule:
        """Return the first rule that matches; without one, a summary is logged."""
        rest = LoggingRule(data=["*"], log="summary")
        matching = (rule for rule in self.rules if rule.matches(name, tags, layer))
        return next(matching, rest)

    def problems(self, catalog: Any) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """Yield where a rule decides about no data set of any pipeline, and why."""
        from kedro.framework.project import pipelines
        from kedro.pipeline import Pipeline

        nodes = {node for pipeline in pipelines.values() for node in pipeline.nodes}
        traits = [
            (name, *traits_of(name, nodes, catalog))
            for name in Pipeline(nodes).datasets() | set(catalog.keys())
            if not is_parameter(name)
        ]
        free = set(range(len(traits)))
        for index, rule in enumerate(self.rules):
            matched = {i for i, trait in enumerate(traits) if rule.matches(*trait)}
            if not matched & free:
                why = "is shadowed by earlier rules" if matched else "matches nothing"
                yield ("logging", "rules", index), f"this rule {why}"
            free -= matched


def is_parameter(name: str) -> bool:
    """Tell whether a name stands for parameters, which are logged by themselves."""
    return name == "parameters" or name.startswith("params:")


def traits_of(
    name: str, nodes: Iterable[Any], catalog: Any
) -> tuple[set[str], str | None]:
    """Return the tags of the nodes that use a data set, and its layer."""
    users = [node for node in nodes if name in [*node.inputs, *node.outputs]]
    tags = set[str]().union(*(node.tags for node in users))
    metadata = getattr(catalog.get(name), "metadata", None) or {}
    return tags, metadata.get("kedro-viz", {}).get("layer")
