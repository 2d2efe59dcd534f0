"""Move the champion's alias, one command at a time, so that a crash can be mended.

MLflow sets an alias whatever it was. So whoever moves it first claims the move, by
creating a registered model of a name that can exist only once. The claim holds the
plan: what is left of an interrupted move is known, and finished or undone.
"""

import json
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from ..errors import BlueprintError
from ..registry import version_of
from .records import RECORD, SERVED, decision, record

Plan = dict[str, Any]
PLAN = f"{RECORD}plan"
# A move takes seconds. After this time, one on another machine counts as interrupted.
ABANDONED = timedelta(minutes=2)


def plan_move(action: str, name: str, version: str, **figures: Any) -> Plan:
    """Return the plan that makes a version champion, from what the aliases are now."""
    plan = decision(action, version, **figures)
    plan["from"] = version_of(name, "champion")
    plan["previous"] = version_of(name, "previous")
    if plan["from"] == version:
        raise BlueprintError(f"Version {version} is champion already.")
    return plan


def move(name: str, plan: Plan) -> None:
    """Do what the plan says, unless the champion has changed since it was made.

    Raises:
        BlueprintError: if somebody else is moving it, or has moved it.
    """
    claim(name, plan)
    if (now := version_of(name, "champion")) != plan["from"]:
        release(name, plan)
        raise BlueprintError(
            f"Nothing was moved: the champion was {plan['from']} and is {now} by now."
        )
    finish(name, plan)


def finish(name: str, plan: Plan) -> None:
    """Set the aliases, record the decision, release the claim; again does no harm."""
    client = mlflow.MlflowClient()
    if plan["from"]:
        require_claim(name, plan)
        client.set_registered_model_alias(name, "previous", plan["from"])
    require_claim(name, plan)
    client.set_registered_model_alias(name, "champion", plan["to"])
    if version_of(name, "challenger") == plan["to"]:
        client.delete_registered_model_alias(name, "challenger")
    client.set_model_version_tag(name, plan["to"], SERVED, plan["at"])
    kept = {k: v for k, v in plan.items() if k not in ("host", "process", "previous")}
    record(name, kept)
    release(name, plan)


def mend(name: str) -> str | None:
    """Finish or undo an interrupted move; say which, None if there is none.

    Raises:
        BlueprintError: if the move is not interrupted, but going on.
    """
    plan = pending(name)
    if plan is None:
        return None
    if is_going_on(plan):
        raise BlueprintError(f"Try again in a moment: {describe(plan)} is going on.")
    if version_of(name, "champion") == plan["to"]:
        finish(name, plan)
        return f"{describe(plan)} was interrupted; it is finished now."
    client = mlflow.MlflowClient()
    if version_of(name, "previous") != plan["previous"]:
        if plan["previous"]:
            client.set_registered_model_alias(name, "previous", plan["previous"])
        else:
            client.delete_registered_model_alias(name, "previous")
    release(name, plan)
    return f"{describe(plan)} was interrupted; it is undone now."


def describe(plan: Plan) -> str:
    """Return what a plan does, for a sentence."""
    return (
        f"The {plan['action']} from {plan['from'] or 'none'} to {plan['to']} "
        f"by {plan['by']} at {plan['at'][:19]}"
    )


def lock_of(name: str) -> str:
    """Return the name of the registered model that exists while a move goes on."""
    return f"{name}_promotion"


def claim(name: str, plan: Plan) -> None:
    """Create the lock with the plan on it; refuse if it exists."""
    mine = {**plan, "host": socket.gethostname(), "process": os.getpid()}
    text = json.dumps(mine, ensure_ascii=False)
    try:
        mlflow.MlflowClient().create_registered_model(
            lock_of(name),
            tags={PLAN: text},
            description=f"A move of {name}'s champion is going on. It ends by itself.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        theirs = pending(name)
        if theirs and theirs["id"] == plan["id"]:  # the answer was lost, not the claim
            return
        other = describe(theirs) if theirs else "Another promotion"
        raise BlueprintError(f"Nothing was moved: {other} is going on.") from error


def require_claim(name: str, plan: Plan) -> None:
    """Refuse to go on if another command took the move for interrupted."""
    found = pending(name)
    if found is None or found["id"] != plan["id"]:
        raise BlueprintError(
            f"{describe(plan)} took so long that another command has ended it."
        )


def release(name: str, plan: Plan) -> None:
    """Delete the lock, if it is still this plan's."""
    found = pending(name)
    if found and found["id"] == plan["id"]:
        ignore_missing(mlflow.MlflowClient().delete_registered_model, lock_of(name))


def pending(name: str) -> Plan | None:
    """Return the plan of a move that goes on or was interrupted."""
    found = ignore_missing(mlflow.MlflowClient().get_registered_model, lock_of(name))
    return json.loads(found.tags[PLAN]) if found else None


def ignore_missing(ask: Callable[[str], Any], name: str) -> Any:
    """Return the answer, None if there is no registered model of this name."""
    try:
        return ask(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def is_going_on(plan: Plan) -> bool:
    """Tell whether the process that made a claim can still be at it."""
    age = datetime.now(UTC) - datetime.fromisoformat(plan["at"])
    if age > ABANDONED or plan["host"] != socket.gethostname() or os.name != "posix":
        return age <= ABANDONED
    try:
        os.kill(plan["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, and alive
        return True
    return True
