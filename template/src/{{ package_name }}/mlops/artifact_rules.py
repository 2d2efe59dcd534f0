"""Read artifacts.yml; every mistake in it is an error that names its line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from .errors import BlueprintError
from .logging_rules import LoggingRules
from .retention.schema import RetentionRules
from .stores import project_path

Location = tuple[str | int, ...]


class ArtifactRules(BaseModel, extra="forbid"):
    """What is logged at all, and what is kept."""

    logging: LoggingRules
    retention: RetentionRules


def rules_path(env: str | None = None) -> Path:
    """Return an environment's own file if there is one, else the base one."""
    conf = project_path() / "conf"
    own = conf / (env or "local") / "artifacts.yml"
    return own if own.is_file() else conf / "base" / "artifacts.yml"


def read_artifact_rules(path: Path) -> ArtifactRules:
    """Return the rules, or refuse unknown keys, wrong values and contradictions."""
    try:
        tree = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        refuse(path, tree, repeated_keys(tree))
        rules = ArtifactRules.model_validate(yaml.safe_load(path.read_text("utf-8")))
        refuse(path, tree, rules.retention.problems())
        return rules
    except (OSError, yaml.YAMLError) as error:
        raise BlueprintError(f"{path.name} can't be read: {error}") from error
    except ValidationError as error:
        refuse(path, tree, [(e["loc"], e["msg"]) for e in error.errors()])
        raise


def check_rules(path: Path, catalog: Any) -> ArtifactRules:
    """Also refuse logging rules that match nothing in the catalog."""
    rules = read_artifact_rules(path)
    problems = [(("logging", *at), why) for at, why in rules.logging.problems(catalog)]
    refuse_rules(path, problems)
    return rules


def refuse_rules(path: Path, problems: Iterable[tuple[Location, str]]) -> None:
    """Raise an error that names the line of each problem, if there are any."""
    refuse(path, yaml.compose(path.read_text("utf-8"), yaml.SafeLoader), problems)


def refuse(path: Path, tree: Any, problems: Iterable[tuple[Location, str]]) -> None:
    """Do so for a file whose nodes are at hand."""
    texts = [
        f"{path.name}:{line_of(tree, at)}: {'.'.join(map(str, at))}: {why}"
        for at, why in problems
    ]
    if texts:
        raise BlueprintError("; ".join(texts) + ".")


def repeated_keys(node: Any, at: Location = ()) -> Iterable[tuple[Location, str]]:
    """Yield keys that are given twice, of which YAML would take the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield (*at, key.value), f"is given twice (line {line_number(key)})"
            seen.add(key.value)
            yield from repeated_keys(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from repeated_keys(value, (*at, position))


def line_of(node: Any, at: Location) -> int:
    """Return the line of a location, or of the last part of it that exists."""
    line = line_number(node) if node else 1
    for part in at:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = line_number(node)
        elif isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == part]
            if not found:
                break
            line, node = line_number(found[0][0]), found[0][1]
    return line


def line_number(node: Any) -> int:
    """Return a node's line as editors count."""
    return int(node.start_mark.line) + 1
