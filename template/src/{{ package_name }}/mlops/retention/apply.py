"""Do what a plan says, as far as it is still right at the moment of each deletion."""

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import Any

from ..artifact_rules import read_artifact_rules
from ..errors import BlueprintError
from .inventory import Inventory
from .plan import Plan, stamp
from .rules import MARK, PRUNED, Item, protections
from .schema import first_match

BATCH = 100  # is done after one look at versions and aliases
LOOKS = 5  # at all that is there, while as many items are done


def apply(plan: Plan, rules_path: Path, journal: Path) -> list[dict[str, Any]]:
    """Go through a plan and return what was done; each line is in the journal.

    Raises:
        BlueprintError: if the plan is old, or made for another store or other rules.
    """
    inventory, done = Inventory(read_artifact_rules(rules_path).retention), []
    age = datetime.now(UTC) - datetime.fromisoformat(plan.created)
    fresh = timedelta(0) <= age <= timedelta(days=1)
    if not fresh or plan.store != inventory.identity:
        raise BlueprintError(
            f"The plan of {plan.created} is more than a day old, or for another store "
            "or other rules: make a new one with `kedro prune plan`."
        )
    todo = [item for item in plan.items if item.action not in ("keep", "wait")]
    todo.sort(key=lambda item: item.action != "unmark")  # before what protects it goes
    every = max(1, len(plan.items) // (LOOKS * BATCH)) * BATCH
    with journal.open("a", encoding="utf-8") as lines:
        for start in range(0, len(todo), BATCH):
            if start % every == 0:
                found = inventory.read()
            found |= inventory.versions()
            kept = protections(found, inventory.rules, int(time() * 1000))
            for item in todo[start : start + BATCH]:
                line = {"time": stamp(), "plan": plan.created, **asdict(item)}
                try:
                    line["did"] = act(item, found, kept, plan.created, inventory)
                except Exception as error:  # whatever a backend raises
                    line |= {"did": "failed", "error": " ".join(str(error).split())}
                lines.write(json.dumps(line) + "\n")
                lines.flush()
                done.append(line)
            os.fsync(lines.fileno())
    return done


def act(
    planned: Item,
    found: dict[str, Item],
    kept: dict[str, str],
    since: str,
    inventory: Inventory,
) -> str:
    """Do one item if nothing protects it now; return what was done."""
    item = found.get(planned.id)
    if item is None or item.kind != planned.kind or item.status == "DELETED":
        return "no longer what it was"
    item.rule, item.globs, item.frees = planned.rule, planned.globs, planned.frees
    if planned.action == "unmark":
        inventory.tag(item, MARK, None)
        return "unmarked"
    deletes, grace = planned.action == "delete", inventory.rules.grace_days
    if deletes and MARK not in item.tags and item.tags.get(PRUNED, "") >= since:
        return "no longer what it was"
    if item.id in kept:
        return f"kept: {kept[item.id]}"
    if deletes and (grace == 0 or "" < item.marked_until <= stamp()):
        delete(item, inventory)
        return "deleted"
    if not item.marked_until:
        inventory.tag(item, MARK, f"{stamp(grace)} {item.scope}: {item.rule}")
    return "marked"


def delete(item: Item, inventory: Inventory) -> None:
    """Delete bytes first, then what the tracking store says about them."""
    client = inventory.client
    if item.kind == "version":
        client.delete_model_version(*item.id.rsplit("/", 1))
        return
    storage = inventory.storages[item.experiment]
    storage.delete(item)
    rule = first_match(inventory.rules.experiments, item.experiment)
    whole = rule and rule.prune.metadata == "delete" and not item.globs
    if item.kind == "trace":
        client.delete_traces(storage.id, trace_ids=[item.id])
    elif item.kind == "run" and whole:
        client.delete_run(item.id)
    elif item.kind == "model" and whole:
        client.delete_logged_model(item.id)
    else:
        if item.kind != "orphan":
            text = f"{stamp()} {item.scope}, {item.frees} bytes: {item.rule}"
            inventory.tag(item, PRUNED, text)
        inventory.tag(item, MARK, None)


def unmark(path: Path, ids: tuple[str, ...]) -> int:
    """Take back the marks of some items, or of all; return how many there were."""
    inventory, count = Inventory(read_artifact_rules(path).retention), 0
    for item in (inventory.read() | inventory.versions()).values():
        if MARK in item.tags and (not ids or item.id in ids):
            inventory.tag(item, MARK, None)
            count += 1
    return count
