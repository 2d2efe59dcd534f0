"""Compute what would go and what stays, and write it as a file; change nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time

from pydantic import BaseModel

from ..artifact_rules import read_artifact_rules, refuse_rules
from ..errors import BlueprintError
from .inventory import Inventory
from .rules import MARK, Item, decide, protections
from .schema import Problem, first_match

ORDER = ("version", "model", "trace", "run", "orphan")  # of deletion


class Plan(BaseModel):
    """What is to happen to each item (mark, wait, delete, unmark, keep), and why."""

    created: str
    store: str
    totals: dict[str, int]
    notes: list[str]
    items: list[Item]


def read_plan(path: Path) -> Plan:
    """Return a plan that was written before."""
    try:
        return Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BlueprintError(
            f"{path} is no plan ({error}): write one with `kedro prune plan`."
        ) from error


def make_plan(path: Path) -> Plan:
    """Read rules and stores, and return what the rules mean now."""
    created = stamp()
    inventory, items = check_store(path)
    rules, now = inventory.rules, int(time() * 1000)
    inventory.measure(items, now)
    protected = protections(items, rules, now)
    decide(items, rules, now, protected)
    for item in items.values():
        item.protected_by = protected.get(item.id, "")
        schedule(item, rules.grace_days)
    total = sum(item.bytes for item in items.values())
    gone = sum(item.frees for item in items.values() if item.action == "delete")
    later = sum(item.frees for item in items.values())
    places = inventory.storages.values()
    limits = [(place.name, place.unreachable or place.limit) for place in places]
    notes = [f"{name}: {limit}." for name, limit in limits if limit]
    if rules.grace_days == 0:
        notes.append("grace_days is 0: apply deletes at once; nothing undoes that.")
    return Plan(
        created=created,
        store=inventory.identity,
        totals={"now": total, "after": total - gone, "after_grace": total - later},
        notes=notes,
        items=sorted(items.values(), key=lambda i: (ORDER.index(i.kind), i.created)),
    )


def check_store(path: Path) -> tuple[Inventory, dict[str, Item]]:
    """Read the stores; refuse rules that match nothing in them."""
    inventory = Inventory(read_artifact_rules(path).retention)
    items = inventory.read() | inventory.versions()
    refuse_rules(path, unmatched(inventory, items))
    return inventory, items


def unmatched(inventory: Inventory, items: dict[str, Item]) -> Iterator[Problem]:
    """Yield rules that match no experiment, and metrics that no finished run has."""
    rules = inventory.rules.experiments
    for at, rule in enumerate(rules):
        where = ("retention", "experiments", at)
        names = [n for n in inventory.storages if first_match(rules, n) is rule]
        if not names:
            yield (*where, "name"), "matches no experiment of the store"
        runs = [i for i in items.values() if i.experiment in names]
        runs = [run for run in runs if run.status == "FINISHED"]
        for number, best in enumerate(rule.keep.best):
            if runs and not any(best.metric in run.metrics for run in runs):
                key = (*where, "keep", "best", number, "metric")
                yield key, f"no finished run has {best.metric}"


def schedule(item: Item, grace_days: float) -> None:
    """Set what apply does to an item, and from when on it may delete it."""
    if item.rule:
        item.due = item.marked_until or stamp(grace_days)
        item.action = "wait" if item.marked_until else "mark"
        if item.due <= stamp():
            item.action = "delete"
    elif MARK in item.tags:
        item.action = "unmark"


def stamp(days: float = 0) -> str:
    """Return the time in so many days, as text that sorts."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
