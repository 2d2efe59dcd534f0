"""Judge what the pipeline `evaluation` measured, and keep it on the version."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow.models import Model

from . import documents
from .gates import Gates, judge
from .records import EVALUATION, SERVED, approvers, decision, record, version_at


def conclude(
    name: str, gates: Gates, measured: dict[str, Any], plots: dict[str, Any]
) -> None:
    """Judge a candidate and attach evaluation, report and card to its version."""
    version = version_at(name, measured["candidate"])
    model = Model.load(f"models:/{name}/{version.version}")
    found = {
        **measured,
        "at": datetime.now(UTC).isoformat(),
        "megabytes": (model.model_size_bytes or math.nan) / 1e6,
        "signature_changes": [],
        "card_gaps": documents.card_gaps(),
        "approved_by": approvers(version),
    }
    if champion := measured["champion"]:
        theirs = Model.load(f"models:/{name}/{champion}")
        found["signature_changes"] = signature_changes(
            theirs.signature.to_dict(), model.signature.to_dict()
        )
    found["gates"] = judge(gates, found)
    del found["differences"]
    found = without_nan(found)
    text = documents.report(name, found, plots)
    documents.attach(
        version.run_id,
        "evaluation",
        {
            "evaluation.json": json.dumps(found, indent=1),
            "report.html": documents.page(f"{name} {version.version}", text),
        },
    )
    summary = {
        "at": found["at"],
        "against": champion,
        "passed": sum(each["passed"] for each in found["gates"]),
        "gates": len(found["gates"]),
        "megabytes": found["megabytes"],
    }
    text = json.dumps(summary)
    mlflow.MlflowClient().set_model_version_tag(name, version.version, EVALUATION, text)
    documents.write_card(name, version.version)


def introduce(name: str, version: str, alias: str) -> None:
    """Give a new version its card, and a first one that serves its record."""
    if alias == "champion":
        made = decision("first version", version, gates="first_version: serves")
        client = mlflow.MlflowClient()
        client.set_model_version_tag(name, version, SERVED, made["at"])
        record(name, made)
    documents.write_card(name, version)


def signature_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what a caller of the old signature would stumble over in the new one."""
    changes = []
    for side in ("inputs", "outputs", "params"):
        before, after = (_columns(signature, side) for signature in (old, new))
        for column, kind in before.items():
            if column not in after:
                changes.append(f"{side}: {column} was removed")
            elif after[column][0] != kind[0]:
                changes.append(
                    f"{side}: {column} was {kind[0]} and is {after[column][0]}"
                )
            elif side == "inputs" and after[column][1] and not kind[1]:
                changes.append(f"{side}: {column} may no longer be missing")
        if side == "inputs":
            changes += [
                f"{side}: {column} is new and required"
                for column, (_, required) in after.items()
                if column not in before and required
            ]
    return changes


def _columns(signature: dict[str, Any], side: str) -> dict[str, tuple[str, bool]]:
    return {
        column["name"]: (str(column["type"]), column.get("required", True))
        for column in json.loads(signature.get(side) or "[]")
    }


def without_nan(value: Any) -> Any:
    """Return the same with None for what is not a number, as JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
