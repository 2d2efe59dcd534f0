"""Lineage in MLflow: write a run's record in few calls, and read it back.

A record is what one command did: the dictionary of ``provenance.describe_run`` with
``seed``, ``started``, ``ended``, ``status``, ``nodes`` (name, inputs, outputs) and
``datasets`` (facts by name; ``context`` tells input from output). ``lineage.json`` is a
list of records.
"""

import json
from typing import Any

from ..errors import BlueprintError

FILE = "lineage.json"
CONTEXT, WRITER = "mlflow.data.context", "blueprint.writer"
MLFLOW_TYPES = {"i": "long", "u": "long", "f": "double", "b": "boolean"}
MOST_DATASETS = 1000  # that MLflow takes at once
LOOKED_AT = (5, 50)  # runs, for the one that wrote a data set: mostly the latest knows

Record = dict[str, Any]


def write_record(record: Record, path: str, files: str | None) -> None:
    """Log data sets, tags and the record in the active run, and a folder of files.

    The number of calls does not depend on how many nodes or data sets there are.
    """
    import mlflow
    from mlflow.entities import DatasetInput, InputTag

    if (active := mlflow.active_run()) is None:  # switched off in mlflow.yml
        return
    client = mlflow.MlflowClient()
    run, inputs = client.get_run(active.info.run_id), outside_inputs([record])
    find_writers(client, run.info, inputs)
    shown = []
    for name, facts in record["datasets"].items():
        notes = [InputTag(CONTEXT, facts["context"])]
        if "writer" in facts:
            notes.append(InputTag(WRITER, facts["writer"]))
        if facts["rule"] != "never":
            shown.append(DatasetInput(_mlflow_dataset(name, facts), notes))
    for start in range(0, len(shown), MOST_DATASETS):
        client.log_inputs(run.info.run_id, shown[start : start + MOST_DATASETS])
    upstream = run.data.tags.get("blueprint.upstream", "").split()
    upstream += [facts["writer"] for facts in inputs.values() if "writer" in facts]
    tags = {f"blueprint.{key}": record["code"][key] for key in ("commit", "dirty")}
    mlflow.set_tags(tags | {"blueprint.upstream": " ".join(sorted(set(upstream)))})
    if files:
        mlflow.log_artifacts(files)
    log_records(run.info.run_id, [record], path)


def log_records(run_id: str, records: list[Record], path: str) -> None:
    """Log records as one compact file."""
    from mlflow import MlflowClient

    text = json.dumps(records, separators=(",", ":"), default=str)
    MlflowClient().log_text(run_id, text, path)


def read_records(run: Any) -> list[Record]:
    """Return what each command of a run recorded, in the order they started.

    Raises:
        BlueprintError: if the run has no lineage.
    """
    from mlflow.artifacts import list_artifacts, load_text

    root = run.info.artifact_uri
    paths = [FILE]
    if not any(file.path.endswith(FILE) for file in list_artifacts(root)):
        # Of a shared run that is still open, or none.
        paths = [file.path for file in list_artifacts(f"{root}/lineage")]
    records = [r for path in paths for r in json.loads(load_text(f"{root}/{path}"))]
    if not records:
        raise BlueprintError(
            f"Run {run.info.run_id} holds no {FILE}: it is older than this hook, "
            "failed early, or was pruned."
        )
    return sorted(records, key=lambda record: str(record["started"]))


def outside_inputs(records: list[Record]) -> dict[str, Record]:
    """Return the facts of the data sets that a run read and did not write."""
    known = [item for record in records for item in record["datasets"].items()]
    written = {name for name, facts in known if facts["context"] == "output"}
    return {name: facts for name, facts in known if name not in written}


def find_writers(client: Any, run: Any, inputs: dict[str, Record]) -> None:
    """Note in each input's facts the latest run that wrote the same bytes.

    The last run that had them in hand either wrote them or knows who did.
    """
    wanted = {short(facts): facts for facts in inputs.values() if facts.get("digest")}
    for most in LOOKED_AT:
        if not wanted:
            return
        runs = client.search_runs(
            [run.experiment_id],
            f"dataset.digest IN ({', '.join(map(repr, wanted))})",
            order_by=["attributes.start_time DESC"],
            max_results=most,
        )
        for other, found in ((r, f) for r in runs for f in r.inputs.dataset_inputs):
            tags = {tag.key: tag.value for tag in found.tags}
            wrote = tags.get(CONTEXT) == "output"
            writer = other.info.run_id if wrote else tags.get(WRITER)
            facts = wanted.pop(found.dataset.digest, {})
            if writer and writer != run.run_id:
                facts["writer"] = writer


def short(facts: Record) -> str:
    """Return the part of a digest that fits MLflow's field."""
    return (facts.get("digest") or "none").rpartition(":")[2][:32]


def _mlflow_dataset(name: str, facts: Record) -> Any:
    from mlflow.entities import Dataset

    columns = [
        {"name": column, "type": _mlflow_type(kind), "required": False}
        for column, kind in facts.get("types", {}).items()
    ]
    size = {"num_rows": facts.get("rows"), "bytes": facts.get("bytes")}
    return Dataset(
        name=name[:500],
        digest=short(facts),
        source_type="local",
        source=json.dumps({"uri": facts["location"] or "memory"}),
        schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
        profile=json.dumps(size),
    )


def _mlflow_type(kind: str) -> str:
    if "datetime" in kind:
        return "datetime"
    return MLFLOW_TYPES.get(kind[0].lower(), "string")
