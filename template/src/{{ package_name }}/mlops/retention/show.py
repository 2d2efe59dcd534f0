"""Sum plans up, and print them as tables for people."""

from collections import Counter, defaultdict
from time import time
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from .plan import Plan
from .rules import DAY, MARK, Item

ROWS = 40  # of what goes; a plan's file has them all


def show_plan(plan: Plan) -> None:
    """Print what goes, the largest first; what stays, summed up by its reason."""
    goes = sorted((i for i in plan.items if i.rule), key=lambda item: -item.frees)
    kept: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for item in plan.items:
        if not item.rule:
            reason = item.protected_by.partition(": ")[0] or "no rule decides on it"
            kept[item.action, item.kind, reason] += Counter(n=1, bytes=item.bytes)
    rows = [row_of(item) for item in goes[:ROWS]]
    for (action, kind, reason), sums in kept.items():
        several = Item(kind, f"({sums['n']} of them)", "", action=action)
        several.bytes, several.protected_by = sums["bytes"], reason
        rows.append(row_of(several))
    table("Plan", rows)
    if len(goes) > ROWS:
        say(f"… and {len(goes) - ROWS} more that go: the plan file has them.")
    totals = {key: decimal(count) for key, count in plan.totals.items()}
    say("Now {now}; after apply {after}; after grace {after_grace}.".format(**totals))
    for note in plan.notes:
        say(f"Note: {note}")


def row_of(item: Item) -> dict[str, Any]:
    """Return an item's row."""
    days = f"{int((time() * 1000 - item.created) / DAY)} d"
    return {
        "do": item.action,
        "what": f"{item.kind} {item.name} {item.id}",
        "age": days if item.created else "",
        "bytes": item.bytes,
        "frees": item.frees,
        "rule that decides": " ".join([item.rule, *item.globs]),
        "that protects": item.protected_by,
        "due": item.due[:10],
    }


def status(plan: Plan) -> dict[str, Any]:
    """Return bytes and growth by experiment and kind, marks, and what would go."""
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    month_ago = time() * 1000 - 30 * DAY
    for item in plan.items:
        groups[item.experiment, item.kind].update(
            count=1,
            bytes=item.bytes,
            bytes_of_last_30_days=item.bytes if item.created >= month_ago else 0,
            next_plan_frees=item.frees,
        )
    return {
        "sizes": [
            {"experiment": experiment, "kind": kind, **sums}
            for (experiment, kind), sums in sorted(groups.items())
        ],
        "marked": [i for i in plan.items if i.rule and MARK in i.tags],
        "notes": plan.notes,
    }


def show_status(found: dict[str, Any]) -> None:
    """Print sizes and growth, and what is marked until when."""
    table("Sizes", [size | {"count": str(size["count"])} for size in found["sizes"]])
    table("Marked", [row_of(item) for item in found["marked"]])
    for note in found["notes"]:
        say(f"Note: {note}")


def show_done(done: list[dict[str, Any]]) -> None:
    """Print how often what was done."""
    counts = Counter(line["did"] for line in done)
    say(", ".join(f"{count} {did}" for did, count in counts.items()) or "Nothing to do")


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table, with numbers as bytes; or that there is nothing."""
    names = [name.replace("_", " ") for name in (rows[0] if rows else ["nothing"])]
    printed = Table(*names, title=title)
    for row in rows:
        cells = (decimal(v) if isinstance(v, int) else v for v in row.values())
        printed.add_row(*cells)
    Console().print(printed)


def say(text: str) -> None:
    """Print a line as it is."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
