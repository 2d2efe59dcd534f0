"""Do what a plan says, as far as it is still right at the moment of each deletion."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ..artifact_rules import read_artifact_rules
from ..errors import BlueprintError
from .inventory import Inventory, chunks
from .plan import Plan, digest, due_of, stamp
from .rules import EVERYTHING, MARK, PRUNED, Thing, protections

TAG_METHODS = {
    "run": "{}_tag",
    "trace": "{}_trace_tag",
    "version": "{}_model_version_tag",
    "orphan": "{}_experiment_tag",
}


def apply(plan: Plan, rules_path: Path, journal: Path) -> list[dict[str, Any]]:
    """Go through a plan and return what was done; each line is in the journal.

    Raises:
        BlueprintError: if the plan is old, or made for another store or other rules.
    """
    started, done = int(time() * 1000), []
    rules = read_artifact_rules(rules_path).retention
    inventory = Inventory(rules)
    refuse_stale(plan, inventory)
    inventory.read()
    todo = [i for i in plan.items if i["action"] in ("mark", "delete", "unmark")]
    versions = [item for item in todo if item["kind"] == "version"]
    others = [item for item in todo if item["kind"] != "version"]
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as lines:
        for batch in [*chunks(versions), *chunks(others)]:
            inventory.refresh({item["id"] for item in batch}, started)
            now = int(time() * 1000)
            # Until it is gone, a version protects what it points at from deletion.
            protected = {
                strict: protections(inventory.things, rules, inventory.of, now, strict)
                for strict in (False, True)
            }
            for item in batch:
                line = {"time": stamp(), "plan": plan.created, **item}
                try:
                    line["did"] = act(item, plan.created, inventory, protected)
                except (OSError, MlflowException) as error:
                    line |= {"did": "failed", "error": " ".join(str(error).split())}
                lines.write(json.dumps(line) + "\n")
                lines.flush()
                done.append(line)
            os.fsync(lines.fileno())
    return done


def refuse_stale(plan: Plan, inventory: Inventory) -> None:
    """Refuse a plan that may no longer be right."""
    age = datetime.now(UTC) - datetime.fromisoformat(plan.created)
    why = ""
    if not timedelta(0) <= age <= timedelta(days=1):
        why = f"The plan is from {plan.created}, which is more than a day ago"
    elif plan.store != inventory.identity:
        why = f"The plan is for another store, {plan.store}"
    elif plan.rules != digest(inventory.rules):
        why = "The rules have changed since the plan was made"
    if why:
        raise BlueprintError(f"{why}: make a new one with `kedro prune plan`.")


def act(
    item: dict[str, Any],
    planned: str,
    inventory: Inventory,
    protected: dict[bool, dict[str, str]],
) -> str:
    """Do one item if nothing protects it now; return what was done."""
    thing = inventory.things.get(item["id"])
    if item["kind"] == "orphan":
        if inventory.has_row(item["id"]):
            return "kept: it has a row now"
        ids = {name: i for i, name in inventory.names.items()}
        if item["experiment"] not in ids:
            raise OSError(f"no rule is for experiment '{item['experiment']}'")
        thing = inventory.orphan(ids[item["experiment"]], item["id"])
    if thing is None or is_done(thing, item, planned, inventory):
        return "already gone"
    scope, client = item["scope"], inventory.client
    if item["action"] == "unmark":
        if MARK in thing.tags:
            set_tag(client, thing, MARK, None)
        return "unmarked"
    due = due_of(thing.tags.get(MARK, ""), scope)
    deletes = item["action"] == "delete" and (
        inventory.rules.grace_days == 0 or "" < due <= stamp()
    )
    if why := protected[deletes and thing.kind != "version"].get(thing.id):
        return f"kept: {why}"
    if deletes:
        delete(thing, item, inventory)
        return "deleted"
    if not due:
        when = stamp(inventory.rules.grace_days)
        set_tag(client, thing, MARK, f"{when} {scope}: {item['rule']}")
    return "marked"


def is_done(
    thing: Thing, item: dict[str, Any], planned: str, inventory: Inventory
) -> bool:
    """Tell whether this plan was applied to a thing before."""
    if thing.status == "DELETED":
        return True
    if item["action"] != "delete" or MARK in thing.tags:
        return False
    if thing.kind == "orphan":
        return not inventory.storages[thing.experiment].holds(thing)
    return planned <= thing.tags.get(PRUNED, "") and not goes_whole(thing, inventory)


def goes_whole(thing: Thing, inventory: Inventory) -> bool:
    """Tell whether the rules delete a thing's metadata, too."""
    return inventory.of[thing.experiment].prune.metadata == "delete"


def delete(thing: Thing, item: dict[str, Any], inventory: Inventory) -> None:
    """Delete bytes first, then what the tracking store says about them."""
    client, scope, kind = inventory.client, item["scope"], thing.kind
    if kind == "version":
        client.delete_model_version(*thing.id.rsplit("/", 1))
        del inventory.things[thing.id]
        return
    if thing.experiment not in inventory.storages:
        raise OSError("its artifact root can't be reached")
    globs = [] if scope == EVERYTHING else scope.split()
    inventory.storages[thing.experiment].delete(thing, globs)
    if kind == "trace":
        client.delete_traces(thing.experiment, trace_ids=[thing.id])
        return
    if kind != "orphan":
        text = f"{stamp()} {scope}, {item['frees']} bytes: {item['rule']}"
        set_tag(client, thing, PRUNED, text)
    if MARK in thing.tags:
        set_tag(client, thing, MARK, None)
    if goes_whole(thing, inventory) and not globs and kind in ("run", "model"):
        (client.delete_run if kind == "run" else client.delete_logged_model)(thing.id)


def set_tag(client: MlflowClient, thing: Thing, key: str, value: str | None) -> None:
    """Set a tag, or delete it; an orphan's is one of its experiment."""
    if thing.kind == "model":
        if value is None:
            client.delete_logged_model_tag(thing.id, key)
        else:
            client.set_logged_model_tags(thing.id, {key: value})
        return
    place = thing.id.rsplit("/", 1) if thing.kind == "version" else [thing.id]
    if thing.kind == "orphan":
        place, key = [thing.experiment], f"{key}.{thing.id}"
    verb = "delete" if value is None else "set"
    method = getattr(client, TAG_METHODS[thing.kind].format(verb))
    method(*place, key, *([] if value is None else [value]))
