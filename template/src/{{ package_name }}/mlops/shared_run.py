"""One MLflow run over several commands: joined by each, closed only when told so."""

import os
from functools import cache
from typing import Any
from uuid import uuid4

from .errors import BlueprintError

VARIABLE = "MLFLOW_RUN_ID"


@cache
def shared_run_id() -> str | None:
    """Return the run that this process was told to write to (MLflow forgets it)."""
    return os.environ.get(VARIABLE) or None


@cache
def task_id() -> str:
    """Return what tells this process from the other ones of a shared run."""
    return uuid4().hex[:8]


def join() -> None:
    """Enter the shared run, if there is one, as a run that was opened outside."""
    import mlflow
    from kedro_mlflow.framework.hooks import mlflow_hook

    if run_id := shared_run_id():
        mlflow.start_run(run_id)
        mlflow.set_tag(task_tag(), "running")
        # Otherwise kedro-mlflow would close the run as FINISHED after each command.
        mlflow_hook._already_active_mlflow = True


def leave(done: bool) -> None:
    """Leave the shared run as it is: FAILED if a command failed, else RUNNING."""
    import mlflow

    if (run_id := shared_run_id()) is None:
        return
    client = mlflow.MlflowClient()
    client.set_tag(run_id, task_tag(), "done" if done else "failed")
    failed = "failed" in task_states(client, run_id).values()
    while mlflow.active_run():
        mlflow.end_run("FAILED" if failed else "RUNNING")


def task_tag() -> str:
    """Return the tag that holds the state of this process' command."""
    return f"blueprint.task.{task_id()}"


def task_states(client: Any, run_id: str) -> dict[str, str]:
    """Return the state of each command of a shared run: running, done or failed."""
    tags = client.get_run(run_id).data.tags
    return {k: v for k, v in tags.items() if k.startswith("blueprint.task.")}
