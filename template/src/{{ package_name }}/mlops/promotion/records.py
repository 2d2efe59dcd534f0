"""Who decided what and when: append-only tags of a version, and a local log."""

import getpass
import json
import os
import unicodedata
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow

from ..errors import BlueprintError
from .gates import Gates

RECORD = "blueprint.promotion.record."
APPROVAL = "blueprint.approval."
EVALUATION = "blueprint.promotion.evaluation"
SERVED = "blueprint.champion.since"
LOG = Path("data/08_reporting/promotion.jsonl")
project = Path()
"""The folder of the session's project, which the hook names."""
LONGEST_COMMENT = 1000
# No version tag may be longer, in MLflow.
LONGEST_TAG = 5000


def decision(action: str, version: str, **figures: Any) -> dict[str, Any]:
    """Return a new record of who decides what, now."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    who = getpass.getuser()
    new = {"id": uuid.uuid4().hex[:12], "action": action, "by": who, "at": now}
    if len(figures.get("comment") or "") > LONGEST_COMMENT:
        raise BlueprintError(f"A comment has at most {LONGEST_COMMENT} characters.")
    return {**new, "to": version, **figures}


def record(name: str, made: dict[str, Any]) -> None:
    """Append a decision to its version and to the local log; twice is once."""
    kind = APPROVAL if made["action"] == "approval" else RECORD
    text = json.dumps(made, ensure_ascii=False)
    if len(text) > LONGEST_TAG:
        text = json.dumps({**made, "gates": "see evaluation/evaluation.json"})
    key = f"{kind}{made['at']}.{made['id']}".replace(":", "-").replace("+", "-")
    mlflow.MlflowClient().set_model_version_tag(name, made["to"], key, text)
    file = project / LOG
    file.parent.mkdir(parents=True, exist_ok=True)
    known = file.read_text("utf-8") if file.is_file() else ""
    if f'"{made["id"]}"' not in known:
        line = json.dumps({"model": name, **made}, ensure_ascii=False) + "\n"
        target = os.open(file, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.write(target, line.encode())
        finally:
            os.close(target)


def decisions_of(version: Any) -> list[dict[str, Any]]:
    """Return a version's decisions, the oldest first."""
    found = [
        json.loads(text)
        for key, text in version.tags.items()
        if key.startswith((RECORD, APPROVAL))
    ]
    return sorted(found, key=lambda each: each["at"])


def version_at(name: str, version: str) -> Any:
    """Return a version with its tags."""
    return mlflow.MlflowClient().get_model_version(name, version)


def approvers(version: Any) -> list[str]:
    """Return who approved a version."""
    made = decisions_of(version)
    return [each["by"] for each in made if each["action"] == "approval"]


def approve(
    name: str, version: str, by: str, comment: str, gates: Gates
) -> dict[str, Any]:
    """Record and return an approval, by somebody else than who trained the version.

    This compares names; it proves nobody's identity.
    """
    if not by.strip() or not comment.strip():
        raise BlueprintError("An approval needs a name and a comment.")
    trainer = trainer_of(version_at(name, version))
    if not trainer:
        raise BlueprintError(
            f"Nobody can approve version {version}: it is not known who trained it."
        )
    if person(by, gates.identities) == person(trainer, gates.identities):
        raise BlueprintError(
            f"{by} can't approve version {version}: {trainer} trained it."
        )
    made = decision("approval", version, comment=comment)
    made |= {"by": by.strip(), "entered_by": made["by"]}
    record(name, made)
    return made


def data_of(run: Any) -> dict[str, str]:
    """Return the digest of each data set that a run took, by name."""
    return {
        found.dataset.name: found.dataset.digest
        for found in run.inputs.dataset_inputs
        if "output" not in [tag.value for tag in found.tags]
    }


def trainer_of(version: Any) -> str:
    """Return the user name that MLflow recorded when the version was trained."""
    run = mlflow.MlflowClient().get_run(version.run_id)
    return str(run.data.tags.get("mlflow.user") or run.info.user_id or "")


def person(name: str, identities: dict[str, list[str]]) -> str:
    """Return one spelling for all names of a person."""
    folded = fold(name)
    for known, others in identities.items():
        if folded in map(fold, [known, *others]):
            return fold(known)
    return folded


def fold(name: str) -> str:
    """Return a name without differences of Unicode form, case and white space."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = unicodedata.normalize("NFKC", text)
    return "".join(
        sign
        for sign in text
        if not sign.isspace() and unicodedata.category(sign) not in ("Cf", "Cc")
    )
