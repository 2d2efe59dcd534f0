"""Tables for people, of plans, of what was done and of the status."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from .plan import Plan
from .rules import EVERYTHING

ROWS = 40


def show_plan(plan: Plan, every_row: bool) -> None:
    """Print what goes, the largest first; what stays, summed up by its reason."""
    goes = [item for item in plan.items if item["action"] != "keep"]
    goes.sort(key=lambda item: -item["frees"])
    shown = goes if every_row else goes[:ROWS]
    columns = "do|what|name|age|bytes|frees|rule|due"
    table(columns, [row_of(item) for item in shown], "What goes")
    if len(goes) > len(shown):
        say(f"… and {len(goes) - len(shown)} more: `--all`, or the plan file.")
    kept: dict[tuple[str, str], list[int]] = defaultdict(list)
    for item in plan.items:
        if item["action"] == "keep":
            reason = item["protected_by"] or "no rule decides on it"
            if not every_row:  # sum up what the same rule protects
                reason = reason.partition(":")[0] if "its run" in reason else reason
            kept[item["kind"], reason].append(item["bytes"])
    rows = [(k, why, str(len(b)), decimal(sum(b))) for (k, why), b in kept.items()]
    table("what|protected by|count|bytes", rows[: None if every_row else ROWS], "Stays")
    for note in plan.notes:
        say(f"Note: {note}")
    totals = {key: decimal(count) for key, count in plan.totals().items()}
    say("Now {now}; after apply {after}; after grace {after_grace}.".format(**totals))


def row_of(item: dict[str, Any]) -> tuple[str, ...]:
    """Return an item's row."""
    age = datetime.now(UTC) - datetime.fromtimestamp(item["created"] / 1000, UTC)
    scope = "" if item["scope"] in (EVERYTHING, "") else f" ({item['scope']})"
    return (
        item["action"],
        f"{item['kind']} {item['id']}",
        item["name"],
        f"{age.days} d" if item["created"] else "",
        decimal(item["bytes"]),
        decimal(item["frees"]),
        (item["rule"] or f"protected now: {item['protected_by']}") + scope,
        item["due"][:10],
    )


def show_status(status: dict[str, Any]) -> None:
    """Print sizes and growth, and what is marked until when."""
    rows = [
        (
            size["experiment"],
            size["kind"],
            str(size["count"]),
            *(decimal(size[key]) for key in list(size)[3:]),
        )
        for size in status["sizes"]
    ]
    table("experiment|kind|count|bytes|of last 30 days|next plan frees", rows, "Sizes")
    columns = "do|what|name|age|bytes|frees|rule|until"
    table(columns, [row_of(item) for item in status["marked"]], "Marked")
    for note in status["notes"]:
        say(f"Note: {note}")


def show_done(done: list[dict[str, Any]]) -> None:
    """Print how often what was done, and each thing that failed."""
    sums: dict[str, list[int]] = defaultdict(list)
    for line in done:
        sums[line["did"]].append(line["frees"])
    rows = [(did, str(len(b)), decimal(sum(b))) for did, b in sorted(sums.items())]
    table("did|count|bytes", rows, "Applied")


def table(columns: str, rows: Sequence[Sequence[str]], title: str) -> None:
    """Print a table, or that there is nothing."""
    if not rows:
        say(f"{title}: nothing.")
        return
    printed = Table(title=title, title_justify="left")
    for column in columns.split("|"):
        printed.add_column(column, overflow="fold")
    for row in rows:
        printed.add_row(*row)
    Console().print(printed)


def say(text: str) -> None:
    """Print a line as it is."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
