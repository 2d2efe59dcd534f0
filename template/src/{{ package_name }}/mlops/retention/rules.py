"""Who is protected and why, and which rule decides on the others: pure functions."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isnan, nan

from .schema import Keep, Prune, RetentionRules, first_match

DAY = 86_400_000  # MLflow counts milliseconds
PIN, MARK, PRUNED = "blueprint.pin", "blueprint.prune", "blueprint.pruned"
UPSTREAM = "blueprint.upstream"  # the runs that wrote what a run has read
EARNED = ("blueprint.approv", "blueprint.champion", "blueprint.promot")
BUSY = ("RUNNING", "SCHEDULED", "PENDING", "IN_PROGRESS")
Items = Mapping[str, "Item"]


@dataclass(slots=True)
class Item:
    """A run, model, trace, version or orphan (a folder), and what happens to it."""

    kind: str
    id: str
    experiment: str  # its name; of a version, the registered model's
    created: int = 0
    name: str = ""
    status: str = ""
    tags: dict[str, str] = field(default_factory=dict)  # ours only
    needs: list[str] = field(default_factory=list)  # what it came from
    run: str = ""  # that a model or trace belongs to
    aliases: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    out_of_reach: str = ""  # why it can't be deleted
    bytes: int = 0
    matched: int = 0  # bytes of the artifacts that globs match
    protected_by: str = ""
    rule: str = ""
    globs: list[str] = field(default_factory=list)  # of what goes; none: everything
    frees: int = 0
    action: str = "keep"
    due: str = ""

    @property
    def scope(self) -> str:
        """What of it goes, as its tags say it."""
        return " ".join(self.globs) or "everything"

    @property
    def marked_until(self) -> str:
        """When its mark allows what is to happen; nothing if it was set for less."""
        due, _, marked = self.tags.get(MARK, "").partition(" ")
        return due if marked.startswith((f"{self.scope}: ", "everything: ")) else ""


def protections(items: Items, rules: RetentionRules, now: int) -> dict[str, str]:
    """Return why each protected item is protected, by its id."""
    reasons = {i.id: why for i in items.values() if (why := own_reason(i))}
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items.values():
        if item.kind == "version":
            groups["versions", item.experiment].append(item)
        elif item.kind == "run" or (item.kind == "model" and not item.run):
            groups["keep", item.experiment].append(item)
    for (block, name), members in groups.items():
        rule: Keep | None = first_match(rules.versions, name)
        if block == "keep":
            found = first_match(rules.experiments, name)
            rule = found.keep if found else None
        for item_id, why in kept(members, rule, now):
            reasons.setdefault(item_id, f"{block}.{why}")
    # A registered version keeps what it came from, even one that is to be retired.
    waiting = [i for i in items.values() if i.kind == "version" or i.id in reasons]
    while waiting:
        item = waiting.pop()
        for need in item.needs:
            if need not in reasons:
                reasons[need] = f"{item.kind} {item.name or item.id} came from it"
                waiting += [items[need]] if need in items else []
    for item in items.values():
        if item.run in reasons and items.get(item.run, item).status != "DELETED":
            reasons.setdefault(item.id, f"its run: {reasons[item.run]}")
    return reasons


def own_reason(item: Item) -> str:
    """Return what protects an item whatever the rules say."""
    if item.tags.get(PIN, "false").lower() != "false":
        return f"tag {PIN}"
    if item.aliases:
        return f"alias {', '.join(item.aliases)}"
    if item.kind == "version":
        return next((f"tag {tag}" for tag in item.tags if tag.startswith(EARNED)), "")
    return "is running" if item.status in BUSY else item.out_of_reach


def kept(members: list[Item], rule: Keep | None, now: int) -> Iterator[tuple[str, str]]:
    """Yield which runs of an experiment, or versions of a model, a rule keeps."""
    newest = sorted(members, key=lambda i: (i.created, len(i.id), i.id), reverse=True)
    if rule is None:
        yield from ((item.id, "no rule is for it") for item in newest)
        return
    finished = [i for i in newest if i.status == "FINISHED" or i.kind == "version"]
    for item in finished[: rule.last]:
        yield item.id, "last"
    for best in rule.best:
        measured = [r for r in finished if not isnan(r.metrics.get(best.metric, nan))]
        highest_first = best.order == "highest"
        measured.sort(key=lambda r: r.metrics[best.metric], reverse=highest_first)
        for item in measured[: best.count]:
            yield item.id, f"best {best.metric}"
    for item in newest:
        if now - item.created < rule.younger_than_days * DAY:
            yield item.id, "younger_than_days"


def decide(
    items: Items, rules: RetentionRules, now: int, protected: Mapping[str, str]
) -> None:
    """Set the rule by which what nothing protects goes, and what of it."""
    free = [item for i, item in items.items() if i not in protected]
    free.sort(key=lambda item: (item.created, item.id))
    held: Counter[str] = Counter()
    for item in items.values():
        held[item.experiment] += item.bytes
    for item in free:
        found = first_match(rules.experiments, item.experiment)
        if item.kind == "version":
            item.rule = "versions"
        elif found:
            run = items.get(item.run, item)
            item.rule, item.globs = by_age(item, run, found.prune, now)
            if MARK in item.tags and not item.bytes:  # apply was interrupted
                item.rule, item.globs = item.tags[MARK].partition(": ")[2], []
        item.frees = item.matched if item.globs else item.bytes if item.rule else 0
        held[item.experiment] -= item.frees
    for item in free:
        found = first_match(rules.experiments, item.experiment)
        over = found and held[item.experiment] > found.prune.budget
        if over and item.kind in ("run", "model") and item.frees < item.bytes:
            held[item.experiment] -= item.bytes - item.frees
            item.rule, item.globs, item.frees = "prune.budget", [], item.bytes


def by_age(item: Item, run: Item, prune: Prune, now: int) -> tuple[str, list[str]]:
    """Return the first rule that applies by age; a model has its run's age."""
    days = (now - (run if item.kind == "model" else item).created) / DAY
    limits = {"all_after_days": prune.all_after_days}
    if item.kind == "orphan":
        limits = {"orphans": 0 if prune.orphans else inf}
    elif run.status in ("FAILED", "KILLED"):
        limits = {"failed_after_days": prune.failed_after_days} | limits
    only_a_row = item.kind in ("run", "model") and not item.bytes
    if not only_a_row or prune.metadata == "delete":
        for rule, limit in limits.items():
            if days >= limit:
                return f"prune.{rule}", []
    globs = globs_for(item, prune, now)
    mark = f" {' '.join(globs)}: prune.artifacts"  # of an apply that was interrupted
    if globs and (item.matched or item.tags.get(MARK, "").endswith(mark)):
        return "prune.artifacts", globs
    return "", []


def globs_for(item: Item, prune: Prune, now: int) -> list[str]:
    """Return the globs whose artifacts of a run are old enough to go."""
    if item.kind != "run":
        return []
    days = (now - item.created) / DAY
    return [
        g for rule in prune.artifacts if days >= rule.after_days for g in rule.match
    ]
