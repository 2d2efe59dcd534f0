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
EXPERIMENTS = ("1", "2", "3")  # the third has no rules

optional_days = st.none() | st.integers(0, 60)
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
        keep = {
            "last": draw(st.none() | st.integers(1, 4)),
            "younger_than_days": young,
            "best": best,
        }
        later = st.none() | st.integers(young, 60)
        globs = draw(st.none() | st.integers(young, 60))
        prune = {
            "failed_after_days": draw(later),
            "all_after_days": draw(later),
            "artifacts": [{"match": ["*.pt"], "after_days": globs}] if globs else [],
            "traces_after_days": draw(optional_days),
            "budget": draw(st.none() | st.integers(0, 60)),
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
        add(
            "run",
            number,
            status=draw(statuses),
            needs=tuple(needs),
            metrics={k: v for k, v in metrics.items() if v is not None},
        )
        things[-1]["matched"] = things[-1]["bytes"] // 2
    some_run = st.sampled_from([""] + [f"run{i}" for i in range(runs)])
    models = draw(st.integers(0, 5))
    for number in range(models):
        run = draw(some_run)
        needs = (run,) if run else ()
        add("model", number, run=run, needs=needs, status="READY")
    for number in range(draw(st.integers(0, 3))):
        add("trace", number, run=draw(some_run), status="OK")
    for number in range(draw(st.integers(0, 2))):
        add("orphan", number, name="run")
    alias = st.sampled_from([(), (), (), ("champion",), ("previous", "challenger")])
    earned = st.sampled_from([{}, {}, {}, {"blueprint.approved_by": "a"}])
    some_model = st.sampled_from([f"model{i}" for i in range(models)] or ["orphan0"])
    for number in range(1, draw(st.integers(0, 4)) + 1):
        add("version", number, aliases=draw(alias), needs=(draw(some_model),))
        things[-1] |= {"experiment": "m", "bytes": 0}
        things[-1]["tags"] |= draw(earned)
    return things


# The slow and obvious model ---------------------------------------------------------


def kept_by_model(
    things: dict[str, Any], rules: dict[str, Any], strict: bool
) -> set[str]:
    """Apply each sentence of the documentation until nothing changes."""
    of = dict(zip(EXPERIMENTS, rules["experiments"], strict=False))
    kept: set[str] = set()
    for thing in things.values():
        if "blueprint.pin" in thing.tags:
            kept.add(thing.id)  # a pin protects
        if thing.kind == "run" and thing.status == "RUNNING":
            kept.add(thing.id)  # what is running is protected
        if thing.kind == "version" and version_stays(thing, things, rules, strict):
            kept.add(thing.id)
        if thing.kind == "run" and thing.experiment in of:
            rule = of[thing.experiment]["keep"]
            if run_stays(thing, things, rule):
                kept.add(thing.id)
        if thing.kind == "model" and not thing.run and thing.experiment in of:
            if days(thing) < of[thing.experiment]["keep"]["younger_than_days"]:
                kept.add(thing.id)
    while True:
        more = set(kept)
        for thing in things.values():
            if thing.id in kept:
                more |= set(thing.needs)  # what it came from is protected with it
        if more == kept:
            break
        kept = more
    followers = {t.id for t in things.values() if t.run and t.run in kept}
    return kept | followers


def days(thing: Any) -> float:
    return (NOW - thing.created) / DAY


def version_stays(
    version: Any, things: dict[str, Any], rules: dict[str, Any], strict: bool
) -> bool:
    if strict or version.aliases or not rules["versions"]:
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
    if run.status == "DELETED":
        return False
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
    if rule["last"] and len(newer) < rule["last"]:
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
        elif thing.kind == "trace" and reached(age, prune["traces_after_days"]):
            gone[thing.id] = "all"
        elif thing.kind in ("run", "model") and worth_it:
            failed = run.status in ("FAILED", "KILLED")
            if reached(age, prune["all_after_days"]):
                gone[thing.id] = "all"
            elif failed and reached(age, prune["failed_after_days"]):
                gone[thing.id] = "all"
            elif thing.kind == "run" and thing.matched and prune["artifacts"]:
                if age >= prune["artifacts"][0]["after_days"]:
                    gone[thing.id] = "some"
    for experiment, rule in of.items():
        budget = rule["prune"]["budget"]
        while budget is not None:
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
                and t.bytes
                and t.id not in kept
                and gone.get(t.id) != "all"
            ]
            if left <= budget or not candidates:
                break
            gone[min(candidates, key=lambda t: (t.created, t.id)).id] = "all"
    return gone


def reached(age: float, limit: int | None) -> bool:
    return limit is not None and age >= limit


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
    """Return what is kept (also strictly) and what goes: by the rules, by the model."""
    schema = retention.schema.RetentionRules.model_validate(drawn)
    of = dict(zip(EXPERIMENTS, schema.experiments, strict=False))
    module = retention.rules
    things = {fields["id"]: module.Thing(**fields) for fields in history}
    kept = module.protections(things, schema, of, NOW)
    strictly = module.protections(things, schema, of, NOW, strict=True)
    decided = module.decisions(things, of, NOW, kept)
    scopes = {module.EVERYTHING: "all", "*.pt": "some"}
    gone = {thing_id: scopes[scope] for thing_id, (_, scope) in decided.items()}
    expected_kept = kept_by_model(things, drawn, strict=False)
    found = (set(kept), set(strictly), gone)
    expected = (
        expected_kept,
        kept_by_model(things, drawn, strict=True),
        gone_by_model(things, drawn, expected_kept),
    )
    return found, expected


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        ("own_reason", lambda thing, strict: ""),
        ("kept_runs", lambda members, keep, now: iter(())),
        ("kept_versions", lambda versions, rules, name, now: iter(())),
        ("globs_for", lambda thing, rules, now: []),
        ("frees", lambda thing, scope: 0),
        ("by_age", lambda thing, run, rules, now: None),
    ],
)
def test_the_slow_model_notices_a_broken_rule(
    retention: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    by: Any,
) -> None:
    monkeypatch.setattr(retention.rules, broken, by)

    @settings(max_examples=1000, deadline=None, database=None, phases=[Phase.generate])
    @given(history=histories(), drawn=rules())
    def check(history: list[dict[str, Any]], drawn: dict[str, Any]) -> None:
        found, expected = compare(retention, history, drawn)
        assert found == expected

    with pytest.raises(AssertionError):
        check()
