"""One MLflow run over several commands: joined by each, closed only when told so."""

import json
import logging
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import BlueprintError
from ..logging_rules import is_parameter
from .store import FILE, read_records
from .trace import state_of

VARIABLE = "MLFLOW_RUN_ID"
TASK = "blueprint.task."


@cache
def shared_run_id() -> str | None:
    """Return the run that this process was told to write to (MLflow forgets it)."""
    return os.environ.get(VARIABLE) or None


@cache
def task_tag() -> str:
    """Return the tag that holds the state of this process' command."""
    return f"{TASK}{uuid4().hex[:8]}"


def open_run() -> str:
    """Start a run in the project's experiment and leave it running."""
    import mlflow

    run_id = mlflow.start_run().info.run_id
    mlflow.end_run("RUNNING")
    return str(run_id)


def join() -> None:
    """Enter the shared run, if there is one, as a run that was opened outside."""
    import mlflow
    from kedro_mlflow.framework.hooks import mlflow_hook

    if run_id := shared_run_id():
        mlflow.start_run(run_id)
        mlflow.set_tag(task_tag(), "running")
        # Otherwise kedro-mlflow would close the run as FINISHED after each command;
        # with it, it warns each time that it does not.
        mlflow_hook._already_active_mlflow = True
        logging.getLogger(type(mlflow_hook).__module__).setLevel(logging.ERROR)


def leave(done: bool) -> None:
    """Leave the shared run as it is: FAILED if a command failed, else RUNNING."""
    import mlflow

    if (run_id := shared_run_id()) is None:
        return
    client = mlflow.MlflowClient()
    client.set_tag(run_id, task_tag(), "done" if done else "failed")
    failed = "failed" in task_states(run_id).values()
    while mlflow.active_run():
        mlflow.end_run("FAILED" if failed else "RUNNING")


def task_states(run_id: str) -> dict[str, str]:
    """Return the state of each command of a shared run: running, done or failed."""
    from mlflow import MlflowClient

    tags = MlflowClient().get_run(run_id).data.tags
    return {k.removeprefix(TASK): v for k, v in tags.items() if k.startswith(TASK)}


def not_persisted(catalog: Any) -> list[str]:
    """Return what one node writes, another reads, and no process can hand over."""
    from kedro.framework.project import pipelines

    nodes = {node for pipeline in pipelines.values() for node in pipeline.nodes}
    read = {name for node in nodes for name in node.inputs}
    written = {name for node in nodes for name in node.outputs}
    return sorted(
        name
        for name in read & written
        if type(catalog.get(name)).__name__ in ("NoneType", "MemoryDataset")
    )


def close_run(run_id: str, project: Path, env: str | None) -> str:
    """Log the model if all of training ran, merge the lineage, and set the status."""
    from mlflow import MlflowClient

    client = MlflowClient()
    states = task_states(run_id)
    failed = sorted(task for task, state in states.items() if state != "done")
    if not states:
        raise BlueprintError(
            f"No command has joined run {run_id}: export {VARIABLE}={run_id} first."
        )
    if not failed:
        log_model(run_id, read_records(run_id), project, env)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        path.write_text(json.dumps(read_records(run_id), separators=(",", ":")))
        client.log_artifact(run_id, str(path))
    status = "FAILED" if failed else "FINISHED"
    client.set_terminated(run_id, status)
    return f"{status}: {len(states)} commands, {len(failed)} of them not done"


def log_model(
    run_id: str, records: list[dict[str, Any]], project: Path, env: str | None
) -> None:
    """Log and register a paired pipeline's model whose every node has run."""
    import mlflow
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    ran = {node["name"] for record in records for node in record["nodes"]}
    outputs = {k: v for record in records for k, v in record["datasets"].items()}
    logged = mlflow.MlflowClient().get_run(run_id).outputs
    if logged and logged.model_outputs:
        return
    for name, pipeline in pipelines.items():
        if not hasattr(pipeline, "inference") or {n.name for n in pipeline.nodes} - ran:
            continue
        for fitted in pipeline.inference.inputs():
            facts = outputs.get(fitted)
            if not is_parameter(fitted) and (
                facts is None or state_of(facts, project) != "unchanged"
            ):
                raise BlueprintError(
                    f"{fitted} is not what this run wrote, so no model is logged: "
                    f"persist it in the catalog, and run '{name}' again."
                )
        given = {k: v for r in records for k, v in r["runtime_parameters"].items()}
        session: Any = KedroSession.create(env=env, runtime_params=given)
        params = {
            "project_path": str(project),
            "env": env,
            "pipeline_names": [name],
            "runner": "SequentialRunner",
            "runtime_params": given,
            "only_missing_outputs": False,
            **dict.fromkeys(("tags", "node_names", "from_nodes", "to_nodes")),
            **dict.fromkeys(("from_inputs", "load_versions")),
        }
        catalog = session.load_context().catalog
        known = {"run_params": params, "pipeline": pipeline, "catalog": catalog}
        os.environ[VARIABLE] = run_id
        shared_run_id.cache_clear()
        hooks = session._hook_manager.hook  # Kedro has no public way to them
        hooks.before_pipeline_run(**known)
        hooks.after_pipeline_run(**known, run_result={})
