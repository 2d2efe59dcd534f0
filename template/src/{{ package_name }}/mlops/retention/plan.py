"""Compute what would go and what stays, and write it as a file; change nothing."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import Any

from ..artifact_rules import read_artifact_rules, refuse_rules
from ..errors import BlueprintError
from .inventory import Inventory
from .rules import EVERYTHING, MARK, Thing, decisions, frees, protections
from .schema import Problem, RetentionRules

ORDER = ("version", "model", "run", "trace", "orphan")


@dataclass
class Plan:
    """What is to happen to each thing (mark, wait, delete, unmark, keep), and why."""

    created: str
    store: str
    rules: str
    grace_days: float
    notes: list[str]
    items: list[dict[str, Any]]

    def totals(self) -> dict[str, int]:
        """Return bytes now, after apply, and after the marked ones have gone."""
        now, goes = sum(item["bytes"] for item in self.items), {"delete": 0, "mark": 0}
        for item in self.items:
            key = "delete" if item["action"] == "delete" else "mark"
            goes[key] += item["frees"]
        after = now - goes["delete"]
        return {"now": now, "after": after, "after_grace": after - goes["mark"]}

    def write(self, path: Path) -> None:
        """Write the plan whole, or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(vars(self)), encoding="utf-8")
        draft.replace(path)


def read_plan(path: Path) -> Plan:
    """Return a plan that was written before."""
    try:
        return Plan(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BlueprintError(
            f"{path} is no plan ({error}): write one with `kedro prune plan`."
        ) from error


def make_plan(path: Path) -> Plan:
    """Read rules and stores, and return what the rules mean now."""
    rules = read_artifact_rules(path).retention
    inventory = Inventory(rules).read()
    refuse_rules(path, store_problems(inventory))
    now = int(time() * 1000)
    inventory.add_orphans()
    inventory.measure(now)
    things, of = inventory.things, inventory.of
    protected = protections(things, rules, of, now)
    decided = decisions(things, of, now, protected)
    items = [
        item_of(t, decided.get(t.id, ("", "")), protected.get(t.id, ""), inventory)
        for t in things.values()
    ]
    items.sort(key=lambda i: (ORDER.index(i["kind"]), i["created"], i["id"]))
    notes = inventory.notes + limits(inventory, items)
    return Plan(
        stamp(), inventory.identity, digest(rules), rules.grace_days, notes, items
    )


def check_store(path: Path) -> None:
    """Refuse rules that match no experiment, or metrics that no finished run has."""
    inventory = Inventory(read_artifact_rules(path).retention).read()
    refuse_rules(path, store_problems(inventory))


def store_problems(inventory: Inventory) -> list[Problem]:
    """Return rules that match no experiment, and metrics that no finished run has."""
    problems: list[Problem] = []
    for at, rule in enumerate(inventory.rules.experiments):
        where = ("retention", "experiments", at)
        ids = [i for i, matched in inventory.of.items() if matched is rule]
        if not ids:
            problems.append(((*where, "name"), "matches no experiment of the store"))
        finished = [
            thing
            for thing in inventory.things.values()
            if thing.experiment in ids and thing.status == "FINISHED"
        ]
        for number, best in enumerate(rule.keep.best):
            if finished and not any(best.metric in run.metrics for run in finished):
                key = (*where, "keep", "best", number, "metric")
                problems.append((key, f"no finished run has {best.metric}"))
    return problems


def item_of(
    thing: Thing, decided: tuple[str, str], protected: str, inventory: Inventory
) -> dict[str, Any]:
    """Return what is to happen to one thing."""
    rule, scope = decided
    mark, grace = thing.tags.get(MARK, ""), inventory.rules.grace_days
    marked_until = due_of(mark, scope)
    due = marked_until or stamp(grace)
    action = "delete" if due <= stamp() else "wait" if marked_until else "mark"
    if not rule:
        action, due = "unmark" if mark else "keep", ""
    return {
        "action": action,
        "kind": thing.kind,
        "id": thing.id,
        "name": thing.name,
        "experiment": inventory.names.get(thing.experiment, thing.experiment),
        "created": thing.created,
        "bytes": thing.bytes,
        "frees": frees(thing, scope),
        "rule": rule,
        "scope": scope,
        "protected_by": protected,
        "due": due,
        "marked": bool(rule and marked_until),
    }


def due_of(mark: str, scope: str) -> str:
    """Return from when on a mark allows a deletion; nothing if it was set for less."""
    due, _, rest = mark.partition(" ")
    return due if rest.partition(": ")[0] in (scope, EVERYTHING) else ""


def stamp(days: float = 0) -> str:
    """Return the time in so many days, as text that sorts."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")


def digest(rules: RetentionRules) -> str:
    """Return what tells two sets of rules apart."""
    return hashlib.sha256(rules.model_dump_json().encode()).hexdigest()[:12]


def limits(inventory: Inventory, items: list[dict[str, Any]]) -> list[str]:
    """Return what the plan can't do, and what it does at once."""
    notes = []
    if inventory.rules.grace_days == 0:
        notes.append("grace_days is 0: apply deletes at once, and nothing undoes that.")
    deleted = [t.bytes for t in inventory.things.values() if t.status == "DELETED"]
    if deleted:
        notes.append(
            f"{len(deleted)} runs that were deleted in MLflow still hold "
            f"{sum(deleted)} bytes: `mlflow gc` removes them."
        )
    for i, rule in inventory.of.items():
        mine = [item for item in items if item["experiment"] == inventory.names[i]]
        left = sum(item["bytes"] - item["frees"] for item in mine)
        if rule.prune.budget is not None and left > rule.prune.budget:
            notes.append(
                f"{inventory.names[i]}: {left} bytes are protected or younger than the "
                f"rules, more than the budget of {rule.prune.budget}."
            )
    return notes
