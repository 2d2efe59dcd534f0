"""Read ``artifacts.yml``."""

from pathlib import Path
from typing import NamedTuple

import yaml

from .logging_rules import LoggingRules
from .stores import project_path


class ArtifactRules(NamedTuple):
    """Placeholder until the other branch is merged."""

    logging: LoggingRules


def rules_path(env: str | None) -> Path:
    """Return the environment's file, or the base one."""
    conf = project_path() / "conf"
    own = conf / (env or "local") / "artifacts.yml"
    return own if own.is_file() else conf / "base" / "artifacts.yml"


def read_artifact_rules(path: Path) -> ArtifactRules:
    """Return the rules."""
    read = yaml.safe_load(path.read_text()) or {}
    return ArtifactRules(LoggingRules.model_validate(read.get("logging") or {}))
