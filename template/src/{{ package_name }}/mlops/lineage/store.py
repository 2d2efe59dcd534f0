"""Lineage in MLflow: write a run's record in few calls, read it back, find writers."""

import json
import tempfile
from pathlib import Path
from typing import Any

from ..errors import BlueprintError

FILE = "lineage.json"
MLFLOW_TYPES = {"i": "long", "u": "long", "f": "double", "b": "boolean"}
MOST_DATASETS = 1000  # that MLflow takes at once
MOST_RUNS = 25  # that are looked through for the one that wrote a data set


def write_record(run_id: str, record: dict[str, Any], files: str | None) -> None:
    """Log data sets, tags and ``lineage.json``, and the files that rules let in.

    The number of calls does not depend on how many nodes or data sets there are.
    """
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, InputTag, RunTag

    client = MlflowClient()
    datasets = record["datasets"]
    inputs = outside_inputs([record])
    upstream = add_writers(client, run_id, inputs)
    shown = [
        DatasetInput(
            _mlflow_dataset(name, facts),
            [InputTag("mlflow.data.context", "input" if name in inputs else "output")],
        )
        for name, facts in datasets.items()
        if facts["rule"] != "never"
    ]
    for start in range(0, len(shown), MOST_DATASETS):
        client.log_inputs(run_id, shown[start : start + MOST_DATASETS])
    tags = {
        "blueprint.commit": record["code"]["commit"],
        "blueprint.dirty": record["code"]["dirty"],
        "blueprint.upstream": upstream,
    }
    client.log_batch(
        run_id, tags=[RunTag(k, str(v)) for k, v in tags.items() if v not in (None, "")]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(files or folder, record.get("file", FILE))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, separators=(",", ":"), default=str))
        client.log_artifacts(run_id, files or folder)


def _mlflow_dataset(name: str, facts: dict[str, Any]) -> Any:
    from mlflow.entities import Dataset

    columns = [
        {"name": column, "type": _mlflow_type(kind), "required": False}
        for column, kind in facts.get("types", {}).items()
    ]
    return Dataset(
        name=name[:500],
        digest=short(facts),
        source_type="local",
        source=json.dumps({"uri": facts["location"] or "memory"}),
        schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
        profile=json.dumps(
            {"num_rows": facts.get("rows"), "bytes": facts.get("bytes")}
        ),
    )


def _mlflow_type(kind: str) -> str:
    return "datetime" if "datetime" in kind else MLFLOW_TYPES.get(kind[0], "string")


def short(facts: dict[str, Any]) -> str:
    """Return the part of a digest that fits MLflow's field."""
    return (facts.get("digest") or "none").rpartition(":")[2][:32]


def outside_inputs(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the facts of the data sets that a run read and did not write."""
    nodes = [node for record in records for node in record["nodes"]]
    written = {name for node in nodes for name in node["outputs"]}
    return {
        name: record["datasets"][name]
        for record in records
        for node in record["nodes"]
        for name in node["inputs"]
        if name in record["datasets"] and name not in written
    }


def add_writers(client: Any, run_id: str, inputs: dict[str, dict[str, Any]]) -> str:
    """Note in each input's facts the latest run that wrote the same bytes.

    If more runs than are looked through have read it since, it is the first one.
    Returns the ids of all runs that this one builds on.
    """
    wanted = {short(facts): facts for facts in inputs.values() if facts.get("digest")}
    run = client.get_run(run_id)
    upstream = set(run.data.tags.get("blueprint.upstream", "").split())
    for order in ("DESC", "ASC") if wanted else ():
        digests = ", ".join(f"'{digest}'" for digest in wanted)
        runs = client.search_runs(
            [run.info.experiment_id],
            f"dataset.digest IN ({digests})",
            order_by=[f"attributes.start_time {order}"],
            max_results=MOST_RUNS,
        )
        for found, digest in [pair for r in runs for pair in written_by(r)]:
            facts = wanted.pop(digest, None)
            if facts is not None and found != run_id:
                facts["writer"] = found
                upstream.add(found)
        if not wanted or len(runs) < MOST_RUNS:
            break
    return " ".join(sorted(upstream))


def written_by(run: Any) -> list[tuple[str, str]]:
    """Return the run's id with the digest of each data set that it wrote."""
    return [
        (run.info.run_id, found.dataset.digest)
        for found in run.inputs.dataset_inputs
        if any(tag.value == "output" for tag in found.tags)
    ]


def read_records(run_id: str, client: Any = None) -> list[dict[str, Any]]:
    """Return what each command of a run recorded, in the order they started.

    Raises:
        BlueprintError: if the run has no lineage.
    """
    from mlflow import MlflowClient

    client = client or MlflowClient()
    paths = [item.path for item in client.list_artifacts(run_id)]
    found = [FILE] if FILE in paths else []
    if not found and "lineage" in paths:  # of a shared run that is still open
        found = [item.path for item in client.list_artifacts(run_id, "lineage")]
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in found:
            local = client.download_artifacts(run_id, path, folder)
            read = json.loads(Path(local).read_text())
            records += read if isinstance(read, list) else [read]
    if not records:
        raise BlueprintError(
            f"Run {run_id} holds no {FILE}: it is older than this hook, failed early, "
            "or was pruned."
        )
    return sorted(records, key=lambda record: record["started"])
