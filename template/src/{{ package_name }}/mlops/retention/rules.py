"""Who is protected and why, and which rule decides on the others: pure functions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import isnan

from .schema import ExperimentRules, Keep, RetentionRules, first_match

DAY = 86_400_000  # MLflow counts milliseconds
PIN, MARK, PRUNED = "blueprint.pin", "blueprint.prune", "blueprint.pruned"
UPSTREAM = "blueprint.upstream"  # the runs that wrote what a run has read
EARNED = ("blueprint.approv", "blueprint.champion", "blueprint.promot")
NAN = float("nan")
BUSY = ("RUNNING", "SCHEDULED", "PENDING", "IN_PROGRESS")
EVERYTHING = "everything"


@dataclass(slots=True)
class Thing:
    """A run, model, trace or version; or an orphan, which no row names."""

    kind: str
    id: str
    experiment: str  # its id; of a version, the registered model's name
    created: int = 0
    name: str = ""
    status: str = ""
    tags: dict[str, str] = field(default_factory=dict)  # ours only
    needs: tuple[str, ...] = ()  # what it came from, protected with it
    run: str = ""  # that a model or trace belongs to
    aliases: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)  # of the rules
    uri: str = ""
    bytes: int = 0
    matched: int = 0  # bytes of the artifacts that globs match


def protections(
    things: Mapping[str, Thing],
    rules: RetentionRules,
    of: Mapping[str, ExperimentRules],
    now: int,
    strict: bool = False,
) -> dict[str, str]:
    """Return why each protected thing is protected, by its id.

    ``of`` has the rules by the experiment's id. A version that is to be retired
    protects nothing, unless ``strict``.
    """
    reasons = {t.id: why for t in things.values() if (why := own_reason(t, strict))}
    groups: dict[tuple[bool, str], list[Thing]] = defaultdict(list)
    for thing in things.values():
        if thing.kind in ("run", "model", "version") and not thing.run:
            groups[thing.kind == "version", thing.experiment].append(thing)
    for (registered, name), members in groups.items():
        keeps = kept_versions(members, rules, name, now) if registered else ()
        if not registered and name in of:
            keeps = kept_runs(members, of[name].keep, now)
        for thing_id, why in keeps:
            reasons.setdefault(thing_id, why)
    waiting = [things[i] for i in reasons]
    while waiting:
        thing = waiting.pop()
        for need in thing.needs:
            if need not in reasons:
                reasons[need] = f"{thing.kind} {thing.name or thing.id} came from it"
                waiting += [things[need]] if need in things else []
    for thing in things.values():
        if thing.run in reasons:
            reasons.setdefault(thing.id, f"its run: {reasons[thing.run]}")
    return reasons


def own_reason(thing: Thing, strict: bool) -> str:
    """Return what protects a thing whatever the rules say."""
    if thing.tags.get(PIN, "false").lower() != "false":
        return f"tag {PIN}"
    if thing.aliases:
        return f"alias {', '.join(thing.aliases)}"
    if thing.kind == "version":
        earned = (f"tag {tag}" for tag in thing.tags if tag.startswith(EARNED))
        return next(earned, "is registered" if strict else "")
    return "is running" if thing.status in BUSY else ""


def kept_versions(
    versions: list[Thing], rules: RetentionRules, name: str, now: int
) -> Iterator[tuple[str, str]]:
    """Yield the versions of one registered model that are not retired."""
    rule = first_match(rules.versions, name)
    newest = sorted(versions, key=lambda v: -int(v.id.rpartition("/")[2]))
    for rank, version in enumerate(newest):
        if rule is None:
            yield version.id, "no rule retires it"
        elif rank < (rule.last or 0):
            yield version.id, "versions.last"
        elif now - version.created < rule.younger_than_days * DAY:
            yield version.id, "versions.younger_than_days"


def kept_runs(members: list[Thing], keep: Keep, now: int) -> Iterator[tuple[str, str]]:
    """Yield the runs, and models without a run, that `keep:` names."""
    newest = sorted(members, key=lambda t: (t.created, t.id), reverse=True)
    finished = [thing for thing in newest if thing.status == "FINISHED"]
    for run in finished[: keep.last or 0]:
        yield run.id, "keep.last"
    for best in keep.best:
        measured = [r for r in finished if not isnan(r.metrics.get(best.metric, NAN))]
        sign = -1 if best.order == "highest" else 1
        values = [sign * run.metrics[best.metric] for run in measured]
        for _, rank in sorted(zip(values, count(), strict=False))[: best.count]:
            yield measured[rank].id, f"keep.best {best.metric}"
    for thing in newest:
        young = now - thing.created < keep.younger_than_days * DAY
        if young and thing.status != "DELETED":
            yield thing.id, "keep.younger_than_days"


def decisions(
    things: Mapping[str, Thing],
    of: Mapping[str, ExperimentRules],
    now: int,
    protected: Mapping[str, str],
) -> dict[str, tuple[str, str]]:
    """Return the rule and scope by which what nothing protects goes."""
    free = [thing for i, thing in things.items() if i not in protected]
    free = [thing for thing in free if thing.status != "DELETED"]
    free.sort(key=lambda thing: (thing.created, thing.id))
    decided = {t.id: ("versions", EVERYTHING) for t in free if t.kind == "version"}
    for thing in free:
        rules = of.get(thing.experiment)
        if rules and (found := by_age(thing, things.get(thing.run, thing), rules, now)):
            only_a_row = thing.kind in ("run", "model") and not thing.bytes
            if not only_a_row or rules.prune.metadata == "delete":
                decided[thing.id] = found
        if rules and MARK in thing.tags and not thing.bytes:  # interrupted
            decided[thing.id] = (thing.tags[MARK].partition(": ")[2], EVERYTHING)
    for experiment, rules in of.items():
        if rules.prune.budget is None:
            continue
        left = sum(t.bytes for t in things.values() if t.experiment == experiment)
        members = [thing for thing in free if thing.experiment == experiment]
        left -= sum(frees(t, decided[t.id][1]) for t in members if t.id in decided)
        for thing in members:
            scope = decided.get(thing.id, ("", ""))[1]
            can_go = thing.kind in ("run", "model") and scope != EVERYTHING
            if can_go and thing.bytes and left > rules.prune.budget:
                left -= thing.bytes - frees(thing, scope)
                decided[thing.id] = ("prune.budget", EVERYTHING)
    return decided


def by_age(
    thing: Thing, run: Thing, rules: ExperimentRules, now: int
) -> tuple[str, str] | None:
    """Return the first rule that applies by age; a model has its run's age."""
    prune = rules.prune
    days = (now - (run if thing.kind == "model" else thing).created) / DAY
    if thing.kind == "orphan":
        return ("prune.orphans", EVERYTHING) if prune.orphans else None
    ages = {"all_after_days": prune.all_after_days}
    if thing.kind == "trace":
        ages = {"traces_after_days": prune.traces_after_days}
    elif run.status in ("FAILED", "KILLED"):
        ages = {"failed_after_days": prune.failed_after_days} | ages
    for rule, limit in ages.items():
        if limit is not None and days >= limit:
            return f"prune.{rule}", EVERYTHING
    scope = " ".join(globs_for(thing, rules, now))
    was_interrupted = f" {scope}: " in thing.tags.get(MARK, "")
    goes = scope and (thing.matched or was_interrupted)
    return ("prune.artifacts", scope) if goes else None


def globs_for(thing: Thing, rules: ExperimentRules, now: int) -> list[str]:
    """Return the globs whose artifacts of a run are old enough to go."""
    if thing.kind != "run":
        return []
    days = (now - thing.created) / DAY
    return [g for a in rules.prune.artifacts if days >= a.after_days for g in a.match]


def frees(thing: Thing, scope: str) -> int:
    """Return the bytes that go with everything, or with what the globs match."""
    return thing.bytes if scope == EVERYTHING else thing.matched if scope else 0
