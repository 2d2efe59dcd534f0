"""What is marked, how large everything is, and how it grows; and taking marks back."""

from collections import Counter, defaultdict
from pathlib import Path
from time import time
from typing import Any

from ..artifact_rules import read_artifact_rules
from .apply import set_tag
from .inventory import Inventory
from .plan import Plan
from .rules import DAY, MARK


def status(plan: Plan) -> dict[str, Any]:
    """Sum a plan up: bytes and growth by experiment and kind, marks, what would go."""
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    month_ago = time() * 1000 - 30 * DAY
    for item in plan.items:
        group = groups[item["experiment"], item["kind"]]
        group["count"] += 1
        group["bytes"] += item["bytes"]
        recent = item["created"] >= month_ago
        group["bytes_of_last_30_days"] += item["bytes"] if recent else 0
        group["next_plan_frees"] += item["frees"]
    return {
        "sizes": [
            {"experiment": experiment, "kind": kind, **sums}
            for (experiment, kind), sums in sorted(groups.items())
        ],
        "marked": [item for item in plan.items if item["marked"]],
        "notes": plan.notes,
    }


def unmark(path: Path, ids: tuple[str, ...]) -> int:
    """Take back the marks of some things, or of all; return how many there were."""
    inventory = Inventory(read_artifact_rules(path).retention).read()
    inventory.add_orphans()
    count = 0
    for thing in inventory.things.values():
        if MARK in thing.tags and (not ids or thing.id in ids):
            set_tag(inventory.client, thing, MARK, None)
            count += 1
    return count
