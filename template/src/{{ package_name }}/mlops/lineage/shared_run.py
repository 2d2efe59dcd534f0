"""One MLflow run over several commands: joined by each, closed only when told so."""

import contextlib
import logging
import os
import sys
from functools import cache
from itertools import filterfalse
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import BlueprintError
from ..logging_rules import is_parameter
from .store import FILE, Record, log_records, read_records
from .trace import state_of

VARIABLE = "MLFLOW_RUN_ID"
TASKS = "blueprint.task."
TASK = f"{TASKS}{uuid4().hex[:8]}"  # holds the state of this process' command


@cache
def shared_run_id() -> str | None:
    """Return the run that this process was told to write to (MLflow forgets it)."""
    return os.environ.get(VARIABLE) or None


def open_run() -> str:
    """Start a run in the project's experiment and leave it running."""
    import mlflow

    # With a server MLflow prints addresses, where scripts read the id.
    with contextlib.redirect_stdout(sys.stderr):
        run_id = mlflow.start_run().info.run_id
        mlflow.end_run("RUNNING")
    return str(run_id)


def join() -> None:
    """Enter the shared run, if there is one, as a run that was opened outside."""
    import mlflow
    from kedro_mlflow.framework.hooks import mlflow_hook

    if run_id := shared_run_id():
        mlflow.start_run(run_id)
        mlflow.set_tag(TASK, "running")
        # Otherwise kedro-mlflow would close the run as FINISHED after each command;
        # with it, it warns each time that it does not.
        mlflow_hook._already_active_mlflow = True
        logging.getLogger(type(mlflow_hook).__module__).setLevel(logging.ERROR)


def leave(state: str) -> None:
    """Leave the shared run as it is: FAILED if a command failed, else RUNNING."""
    import mlflow

    if run_id := shared_run_id():
        client = mlflow.MlflowClient()
        client.set_tag(run_id, TASK, state)
        failed = "failed" in task_states(client.get_run(run_id))
        while mlflow.active_run():
            mlflow.end_run("FAILED" if failed else "RUNNING")


def task_states(run: Any) -> list[str]:
    """Return the state of each command of a shared run: running, done or failed."""
    return [value for key, value in run.data.tags.items() if key.startswith(TASKS)]


def not_persisted(catalog: Any) -> list[str]:
    """Return what one node writes, another reads, and no process can hand over."""
    from kedro.framework.project import pipelines

    nodes = {node for pipeline in pipelines.values() for node in pipeline.nodes}
    read = {name for node in nodes for name in node.inputs}
    written = {name for node in nodes for name in node.outputs}
    in_memory = ("NoneType", "MemoryDataset")
    return sorted(
        name for name in read & written if type(catalog.get(name)).__name__ in in_memory
    )


def close_run(run_id: str, project: Path, env: str | None) -> str:
    """Log the model if all of training ran, merge the lineage, and set the status."""
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.get_run(run_id)
    states = task_states(run)
    if not states:
        raise BlueprintError(
            f"No command has joined run {run_id}: export {VARIABLE}={run_id} first."
        )
    failed = len(states) - states.count("done")
    if not failed and not (run.outputs and run.outputs.model_outputs):
        log_model(run_id, read_records(run), project, env)
    log_records(run_id, read_records(run), FILE)
    status = "FAILED" if failed else "FINISHED"
    client.set_terminated(run_id, status)
    return f"{status}: {len(states)} commands, {failed} of them not done"


def log_model(
    run_id: str, records: list[Record], project: Path, env: str | None
) -> None:
    """Log and register a paired pipeline's model whose every node has run.

    The pipeline runs with a runner that does nothing, for what its hooks do.
    """
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.runner import SequentialRunner

    class NothingRunner(SequentialRunner):
        def run(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            return {}

    os.environ[VARIABLE] = run_id
    shared_run_id.cache_clear()
    ran = {node["name"] for record in records for node in record["nodes"]}
    datasets = {k: v for record in records for k, v in record["datasets"].items()}
    given = {k: v for r in records for k, v in r["runtime_parameters"].items()}
    for name, pipeline in dict(pipelines).items():
        if not hasattr(pipeline, "inference") or {n.name for n in pipeline.nodes} - ran:
            continue
        for fitted in filterfalse(is_parameter, pipeline.inference.inputs()):
            facts = datasets.get(fitted, {})
            if state_of(facts, project) != "unchanged":
                raise BlueprintError(
                    f"{fitted} is not what this run wrote, so no model is logged: "
                    f"persist it in the catalog, and run '{name}' again."
                )
        session: Any = KedroSession.create(env=env, runtime_params=given)
        session.run(pipeline_names=[name], runner=NothingRunner())
