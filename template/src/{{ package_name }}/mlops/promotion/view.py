"""Read versions, their aliases and their decisions from the registry."""

import json
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from ..errors import BlueprintError
from ..registry import no_alias, version_of
from .documents import table
from .gates import Gates
from .records import (
    EVALUATION,
    SERVED,
    approvers,
    data_of,
    decisions_of,
    version_at,
)

PAGE = 200
SHOWN_METRICS = 2
METRIC_PREFIX = "held_out."


def all_versions(name: str) -> list[Any]:
    """Return every version of a registered model, the newest first."""
    client, token = mlflow.MlflowClient(), None
    found: list[Any] = []
    while True:
        page = client.search_model_versions(
            f"name = '{name}'", max_results=PAGE, page_token=token
        )
        found += page
        if not (token := page.token):
            return sorted(found, key=lambda each: -int(each.version))


def aliases_of(name: str) -> dict[str, list[str]]:
    """Return the aliases of each version that has any."""
    try:
        aliases = mlflow.MlflowClient().get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise BlueprintError(no_alias(name, "version")) from error
        raise
    found: dict[str, list[str]] = {}
    for alias, version in sorted(aliases.items()):
        found.setdefault(str(version), []).append(alias)
    return found


def list_versions(name: str, gates: Gates) -> list[dict[str, Any]]:
    """Return what `kedro model list` shows of each version."""
    aliases, versions = aliases_of(name), all_versions(name)
    metrics = metrics_of([version.run_id for version in versions])
    wanted = {gate.metric for gate in gates.metrics}
    rows = []
    for version in versions:
        summary = json.loads(version.tags.get(EVALUATION, "{}"))
        known = {
            key.removeprefix(METRIC_PREFIX): value
            for key, value in sorted(metrics.get(version.run_id, {}).items())
        }
        shown = {k: v for k, v in known.items() if k in wanted}
        created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
        rows.append(
            {
                "version": str(version.version),
                "aliases": aliases.get(str(version.version), []),
                "metrics": shown or dict(list(known.items())[:SHOWN_METRICS]),
                "created": created.isoformat(timespec="seconds"),
                "gates": f"{summary['passed']} of {summary['gates']}"
                if summary
                else None,
                "approved_by": approvers(version),
                "megabytes": summary.get("megabytes"),
            }
        )
    return rows


def metrics_of(run_ids: list[str]) -> dict[str, dict[str, float]]:
    """Return the metrics of runs, a page of runs at a time."""
    client, found = mlflow.MlflowClient(), {}
    experiments = [each.experiment_id for each in client.search_experiments()]
    for start in range(0, len(run_ids), PAGE):
        ids = ", ".join(f"'{each}'" for each in run_ids[start : start + PAGE])
        condition = f"attributes.run_id IN ({ids})"
        for run in client.search_runs(experiments, condition, max_results=PAGE):
            found[run.info.run_id] = run.data.metrics
    return found


def version_table(rows: list[dict[str, Any]]) -> str:
    """Return the list for people."""
    now = datetime.now(UTC)
    cells = [
        [
            row["version"],
            ", ".join(row["aliases"]),
            ", ".join(f"{k} {v:.4g}" for k, v in row["metrics"].items()),
            age(now - datetime.fromisoformat(row["created"])),
            row["gates"] or "not evaluated",
            ", ".join(row["approved_by"]),
            f"{row['megabytes']:.2f} MB" if row["megabytes"] else None,
        ]
        for row in rows
    ]
    header = [
        "version",
        "aliases",
        "metrics",
        "age",
        "gates passed",
        "approved",
        "size",
    ]
    return table(header, cells)


def age(passed: Any) -> str:
    """Return a duration in its largest unit."""
    minutes = int(passed.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def resolve(name: str, subject: str) -> str:
    """Return the version that a number or an alias names."""
    version = subject if subject.isdigit() else version_of(name, subject)
    try:
        if version is not None:
            version_at(name, version)
            return version
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    raise BlueprintError(f"{name} has no version or alias {subject}: see the list.")


def candidate(name: str, version: str | None, dry_run: bool) -> str:
    """Return the version to judge: the named one, or the challenger."""
    if version is not None:
        return resolve(name, version)
    if found := version_of(name, "challenger"):
        return found
    if dry_run and (found := version_of(name, "champion")):
        return found
    raise BlueprintError(
        f"{name} has no challenger: `kedro run --pipelines training` makes one."
    )


def served_before(name: str, version: str | None) -> str:
    """Return a version that was champion before; no other may skip the gates."""
    if version is None:
        if found := version_of(name, "previous"):
            return found
        raise BlueprintError(f"{name} has no previous champion to go back to.")
    version = resolve(name, version)
    tags = version_at(name, version).tags
    if SERVED in tags or version == version_of(name, "previous"):
        return version
    raise BlueprintError(
        f"Version {version} was never champion: `kedro model promote --version "
        f"{version}` judges it."
    )


def compare(name: str, first: str, second: str) -> list[dict[str, Any]]:
    """Return metrics, parameters, data, code and signature of two versions."""
    sides = [facts(name, resolve(name, each)) for each in (first, second)]
    keys = dict.fromkeys(key for side in sides for key in side)
    return [
        {
            "kind": kind,
            "what": what,
            "first": sides[0].get((kind, what)),
            "second": sides[1].get((kind, what)),
            "same": sides[0].get((kind, what)) == sides[1].get((kind, what)),
        }
        for kind, what in sorted(keys)
    ]


def facts(name: str, version: str) -> dict[tuple[str, str], Any]:
    """Return what can be compared of a version."""
    run: Any = mlflow.MlflowClient().get_run(version_at(name, version).run_id)
    signature = Model.load(f"models:/{name}/{version}").signature.to_dict()
    return {
        ("code", "commit"): run.data.tags.get("blueprint.commit"),
        **{("data", key): digest for key, digest in data_of(run).items()},
        **{("metric", key): value for key, value in run.data.metrics.items()},
        **{("parameter", key): value for key, value in run.data.params.items()},
        **{
            ("signature", f"{side}: {column['name']}"): str(column["type"])
            for side in ("inputs", "outputs", "params")
            for column in json.loads(signature.get(side) or "[]")
        },
    }


def history(name: str) -> list[dict[str, Any]]:
    """Return the decisions on all versions, the oldest first."""
    made = [each for version in all_versions(name) for each in decisions_of(version)]
    return sorted(made, key=lambda each: each["at"])


def history_table(made: list[dict[str, Any]]) -> str:
    """Return the decisions for people."""
    header = ["when (UTC)", "decision", "by", "from", "to", "gates", "comment"]
    keys = ("action", "by", "from", "to", "gates", "comment")
    cells = [[each["at"][:19], *(each.get(key) for key in keys)] for each in made]
    return table(header, cells)
