"""Read artifacts.yml; every mistake in it is an error that names its line."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from .errors import BlueprintError
from .logging_rules import LoggingRules
from .retention.schema import RetentionRules

Location = tuple[str | int, ...]


class ArtifactRules(BaseModel, extra="forbid"):
    """What is logged at all, and what is kept."""

    logging: LoggingRules
    retention: RetentionRules


def rules_path(context: Any) -> Path:
    """Return an environment's own file if there is one, else the base one."""
    conf = Path(context.config_loader.conf_source)
    own = conf / (context.env or "local") / "artifacts.yml"
    return own if own.is_file() else conf / "base" / "artifacts.yml"


def read_artifact_rules(path: Path) -> ArtifactRules:
    """Return the rules, or refuse unknown keys, wrong values and contradictions."""
    try:
        counts = Counter(at for at, _ in lines_of(path))
        refuse_rules(path, [(at, "is given twice") for at in counts if counts[at] > 1])
        rules = ArtifactRules.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise BlueprintError(f"{path.name} can't be read: {error}") from error
    except ValidationError as error:
        refuse_rules(path, [(e["loc"], e["msg"]) for e in error.errors()])
        raise
    refuse_rules(path, rules.retention.problems())
    return rules


def check_rules(path: Path, catalog: Any) -> ArtifactRules:
    """Also refuse logging rules that match nothing in the catalog."""
    rules = read_artifact_rules(path)
    refuse_rules(path, rules.logging.problems(catalog))
    return rules


def refuse_rules(path: Path, problems: Iterable[tuple[Location, str]]) -> None:
    """Raise an error that names the line of each problem, if there are any."""
    lines: dict[Location, int] = {(): 1}
    for at, line in lines_of(path):
        lines.setdefault(at, line)
    texts = []
    for at, why in problems:
        known = at
        while known not in lines:  # a key that is missing has no line of its own
            known = known[:-1]
        texts.append(f"{path.name}:{lines[known]}: {'.'.join(map(str, at))}: {why}")
    if texts:
        raise BlueprintError("; ".join(texts) + ".")


def lines_of(path: Path) -> Iterator[tuple[Location, int]]:
    """Yield the line of every key and item of a YAML file, as editors count."""
    return walk(yaml.compose(path.read_text("utf-8"), yaml.SafeLoader), ())


def walk(node: Any, at: Location) -> Iterator[tuple[Location, int]]:
    """Do so for what is below a node."""
    parts: list[tuple[str | int, Any, Any]] = []
    if isinstance(node, yaml.MappingNode):
        parts = [(key.value, key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        parts = [(position, item, item) for position, item in enumerate(node.value)]
    for part, first, below in parts:
        yield (*at, part), first.start_mark.line + 1
        yield from walk(below, (*at, part))
