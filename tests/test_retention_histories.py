"""The rules on random histories, against a model of them that is slow and obvious."""

# ruff: noqa: SIM102, SIM108, SIM114 (a sentence of the rules is a branch here)

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="needs the dependency group `retention`")

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.run
NOW = 1_000 * 86_400_000
DAY = 86_400_000
EXPERIMENTS = ("one", "two", "three")  # the third has no rules

statuses = st.sampled_from(
    ["FINISHED"] * 6 + ["FAILED", "KILLED", "RUNNING", "DELETED"]
)
values = st.sampled_from([0.1, 0.2, 0.3, float("nan"), None])


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what `retention:` may say, for two experiments and one registered model."""
    experiments = []
    for name in ("one", "two"):
        young = draw(st.integers(0, 20))
        best = draw(
            st.lists(
                st.fixed_dictionaries(
                    {
                        "metric": st.sampled_from(["auc", "loss"]),
                        "order": st.sampled_from(["highest", "lowest"]),
                        "count": st.integers(1, 3),
                    }
                ),
                max_size=2,
            )
        )
        keep = {"younger_than_days": young, "best": best}
        if last := draw(st.integers(0, 4)):
            keep["last"] = last
        later = st.just(10**9) | st.integers(young, 60)
        globs = draw(st.none() | st.integers(young, 60))
        prune = {
            "failed_after_days": draw(later),
            "all_after_days": draw(later),
            "artifacts": [{"match": ["*.pt"], "after_days": globs}] if globs else [],
            "budget": draw(st.integers(0, 60) | st.just(10**9)),
            "orphans": draw(st.booleans()),
            "metadata": draw(st.sampled_from(["keep", "delete"])),
        }
        experiments.append({"name": name, "keep": keep, "prune": prune})
    versions = draw(
        st.sampled_from([[], [{"name": "m"}]])
        | st.fixed_dictionaries(
            {
                "name": st.just("m"),
                "last": st.integers(1, 3),
                "younger_than_days": st.integers(0, 30),
            }
        ).map(lambda rule: [rule])
    )
    return {"versions": versions, "experiments": experiments}


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw runs with parents, models, traces, versions, orphans, pins and marks."""
    things: list[dict[str, Any]] = []

    def add(kind: str, number: int, **fields: Any) -> None:
        size = draw(st.sampled_from([0, 1, 5, 10]))
        tags = {"blueprint.pin": "true"} if draw(st.integers(0, 9)) == 0 else {}
        created = NOW - draw(st.integers(0, 70)) * DAY
        thing = {
            "kind": kind,
            "id": f"{kind}{number}" if kind != "version" else f"m/{number}",
            "experiment": draw(st.sampled_from(EXPERIMENTS)),
            "created": created,
            "tags": tags,
            "bytes": size,
        }
        things.append(thing | fields)

    runs = draw(st.integers(0, 8))
    for number in range(runs):
        came_from = st.lists(st.integers(0, max(runs - 1, 0)), max_size=2, unique=True)
        needs = [f"run{i}" for i in draw(came_from) if i != number]
        metrics = {"auc": draw(values), "loss": draw(values)}
        status = draw(statuses)
        add(
            "run",
            number,
            status=status,
            needs=needs if status != "DELETED" else [],
            metrics={k: v for k, v in metrics.items() if v is not None},
            out_of_reach="is deleted" if status == "DELETED" else "",
        )
        things[-1]["matched"] = things[-1]["bytes"] // 2
    some_run = st.sampled_from([""] + [f"run{i}" for i in range(runs)])
    models = draw(st.integers(0, 5))
    for number in range(models):
        run = draw(some_run)
        needs = [run] if run else []
        add("model", number, run=run, needs=needs, status="READY")
    for number in range(draw(st.integers(0, 3))):
        add("trace", number, run=draw(some_run), status="OK")
    for number in range(draw(st.integers(0, 2))):
        add("orphan", number, name="run")
    alias = st.sampled_from([[], [], [], ["champion"], ["previous", "challenger"]])
    earned = st.sampled_from([{}, {}, {}, {"blueprint.approved_by": "a"}])
    some_model = st.sampled_from([f"model{i}" for i in range(models)] or ["orphan0"])
    ages = draw(st.lists(st.integers(0, 70), max_size=4))
    for number, age in enumerate(sorted(ages, reverse=True), 1):
        add("version", number, aliases=draw(alias), needs=[draw(some_model)])
        things[-1] |= {"experiment": "m", "bytes": 0, "created": NOW - age * DAY}
        things[-1]["tags"] |= draw(earned)
    return things


# The slow and obvious model ---------------------------------------------------------


def kept_by_model(things: dict[str, Any], rules: dict[str, Any]) -> set[str]:
    """Apply each sentence of the documentation until nothing changes."""
    of = dict(zip(EXPERIMENTS, rules["experiments"], strict=False))
    kept: set[str] = set()
    for thing in things.values():
        if "blueprint.pin" in thing.tags:
            kept.add(thing.id)  # a pin protects
        if thing.kind == "run" and thing.status == "RUNNING":
            kept.add(thing.id)  # what is running is protected
        if thing.kind == "run" and thing.status == "DELETED":
            kept.add(thing.id)  # `mlflow gc` removes it
        if thing.kind == "version" and version_stays(thing, things, rules):
            kept.add(thing.id)
        if thing.kind == "run" or (thing.kind == "model" and not thing.run):
            if thing.experiment not in of:
                kept.add(thing.id)  # an experiment that no rule names is left alone
            elif thing.kind == "run" and thing.status != "DELETED":
                if run_stays(thing, things, of[thing.experiment]["keep"]):
                    kept.add(thing.id)
            elif days(thing) < of[thing.experiment]["keep"]["younger_than_days"]:
                kept.add(thing.id)
    while True:
        more = set(kept)
        for thing in things.values():
            if thing.id in kept or thing.kind == "version":
                more |= set(thing.needs)  # what it came from is protected with it
        if more == kept:
            break
        kept = more
    runs = {i for i in kept if i in things and things[i].status != "DELETED"}
    return kept | {t.id for t in things.values() if t.run in runs}


def days(thing: Any) -> float:
    return (NOW - thing.created) / DAY


def version_stays(version: Any, things: dict[str, Any], rules: dict[str, Any]) -> bool:
    if version.aliases or not rules["versions"]:
        return True
    if any(tag.startswith("blueprint.approv") for tag in version.tags):
        return True
    rule = rules["versions"][0]
    number = int(version.id.split("/")[1])
    versions = [t for t in things.values() if t.kind == "version"]
    newer = [t for t in versions if int(t.id.split("/")[1]) > number]
    return len(newer) < rule.get("last", 0) or days(version) < rule.get(
        "younger_than_days", 0
    )


def run_stays(run: Any, things: dict[str, Any], rule: dict[str, Any]) -> bool:
    if days(run) < rule["younger_than_days"]:
        return True
    if run.status != "FINISHED":
        return False
    finished = [
        t
        for t in things.values()
        if t.kind == "run" and t.experiment == run.experiment and t.status == "FINISHED"
    ]
    newer = [t for t in finished if (t.created, t.id) > (run.created, run.id)]
    if len(newer) < rule.get("last", 0):
        return True
    for best in rule["best"]:
        mine = run.metrics.get(best["metric"], float("nan"))
        better = 0
        for other in finished:
            theirs = other.metrics.get(best["metric"], float("nan"))
            if best["order"] == "lowest":
                wins = theirs < mine
            else:
                wins = theirs > mine
            better += wins or (theirs == mine and other in newer)
        if mine == mine and better < best["count"]:
            return True
    return False


def gone_by_model(
    things: dict[str, Any], rules: dict[str, Any], kept: set[str]
) -> dict[str, str]:
    """Return what goes whole ("all") or by globs ("some"), one sentence at a time."""
    of = dict(zip(EXPERIMENTS, rules["experiments"], strict=False))
    gone: dict[str, str] = {}
    for thing in things.values():
        if thing.id in kept or thing.status == "DELETED":
            continue
        if thing.kind == "version":
            gone[thing.id] = "all"
        if thing.experiment not in of:
            continue
        prune = of[thing.experiment]["prune"]
        run = things.get(thing.run, thing)
        age = days(run) if thing.kind == "model" else days(thing)
        worth_it = thing.bytes > 0 or prune["metadata"] == "delete"
        if thing.kind == "orphan" and prune["orphans"]:
            gone[thing.id] = "all"
        elif thing.kind == "trace" or (thing.kind in ("run", "model") and worth_it):
            failed = run.status in ("FAILED", "KILLED")
            if age >= prune["all_after_days"]:
                gone[thing.id] = "all"
            elif failed and age >= prune["failed_after_days"]:
                gone[thing.id] = "all"
            elif thing.kind == "run" and thing.matched and prune["artifacts"]:
                if age >= prune["artifacts"][0]["after_days"]:
                    gone[thing.id] = "some"
    for experiment, rule in of.items():
        budget = rule["prune"]["budget"]
        while True:
            left = 0
            for thing in things.values():
                if thing.experiment == experiment:
                    freed = {"all": thing.bytes, "some": thing.matched}
                    left += thing.bytes - freed.get(gone.get(thing.id, ""), 0)
            candidates = [
                t
                for t in things.values()
                if t.experiment == experiment
                and t.kind in ("run", "model")
                and t.status != "DELETED"
                and t.bytes > {"all": t.bytes, "some": t.matched}.get(gone.get(t.id), 0)
                and t.id not in kept
            ]
            if left <= budget or not candidates:
                break
            gone[min(candidates, key=lambda t: (t.created, t.id)).id] = "all"
    return gone


# The promise ------------------------------------------------------------------------


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories(), drawn=rules())
@example(history=[], drawn={"versions": [], "experiments": []})
def test_the_rules_mean_on_any_history_what_the_slow_model_says(
    retention: SimpleNamespace, history: list[dict[str, Any]], drawn: dict[str, Any]
) -> None:
    found, expected = compare(retention, history, drawn)
    assert found == expected


def compare(
    retention: SimpleNamespace, history: list[dict[str, Any]], drawn: dict[str, Any]
) -> tuple[Any, Any]:
    """Return what is kept and what goes: by the rules, and by the model."""
    schema = retention.schema.RetentionRules.model_validate(drawn)
    module = retention.rules
    things = {fields["id"]: module.Item(**fields) for fields in history}
    kept = module.protections(things, schema, NOW)
    module.decide(things, schema, NOW, kept)
    scopes = {"everything": "all", "*.pt": "some"}
    gone = {t.id: scopes[t.scope] for t in things.values() if t.rule}
    frees = {"all": "bytes", "some": "matched", "": "nothing"}
    for thing in things.values():
        assert thing.frees == getattr(thing, frees[gone.get(thing.id, "")], 0)
    expected = kept_by_model(things, drawn)
    return (set(kept), gone), (expected, gone_by_model(things, drawn, expected))


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        ("own_reason", lambda item: ""),
        ("kept", lambda members, rule, now: iter(())),
        ("globs_for", lambda item, prune, now: []),
        ("by_age", lambda item, run, prune, now: ("", [])),
        ("first_match", lambda rules, name: rules[0] if rules else None),
    ],
)
def test_the_slow_model_notices_a_broken_rule(
    retention: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    by: Any,
) -> None:
    monkeypatch.setattr(retention.rules, broken, by)

    # It ends with the first that shows it, mostly within some hundred.
    @settings(
        max_examples=20_000, deadline=None, database=None, phases=[Phase.generate]
    )
    @given(history=histories(), drawn=rules())
    def check(history: list[dict[str, Any]], drawn: dict[str, Any]) -> None:
        found, expected = compare(retention, history, drawn)
        assert found == expected

    with pytest.raises(AssertionError):
        check()
