"""`kedro prune`: what the rules keep stays, what they don't keep goes, in two steps."""

import json
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from .retention_support import EXPERIMENT, MODEL, Store, actions, did

pytest.importorskip("mlflow", reason="needs the dependency group `retention`")

pytestmark = pytest.mark.run


@pytest.fixture
def store(retention: SimpleNamespace, tmp_path: Path) -> Store:
    return Store(retention, tmp_path)


# What is kept -----------------------------------------------------------------------


def test_keeps_the_last_runs_and_the_best_and_the_young(store: Store) -> None:
    old_best, old_bad = store.run(90, auc=0.9), store.run(80, auc=0.1)
    last, young = store.run(40, auc=0.2), store.run(5, status="FAILED")
    best = [{"metric": "auc", "order": "highest", "count": 1}]
    store.rules(keep={"last": 1, "best": best, "younger_than_days": 10})
    plan = store.plan()
    assert actions(plan) == {old_bad: "delete"}
    reasons = {item.id: item.protected_by for item in plan.items}
    assert reasons[old_best] == "keep.best auc"
    assert reasons[last] == "keep.last"
    assert reasons[young] == "keep.younger_than_days"


def test_the_best_can_be_the_lowest_and_is_never_nan(store: Store) -> None:
    runs = {value: store.run(90, rmse=value) for value in (3.0, 1.0, 2.0, float("nan"))}
    best = [{"metric": "rmse", "order": "lowest", "count": 2}]
    store.rules(keep={"best": best})
    assert actions(store.plan()).keys() == set(runs.values()) - {runs[1.0], runs[2.0]}


def test_pins_running_runs_and_parents_of_kept_children_stay(store: Store) -> None:
    grandparent = store.run()
    parent = store.run(parent=grandparent)
    pinned = store.run(parent=parent)
    running = store.run(status="RUNNING")
    sibling = store.run(parent=grandparent)
    store.client.set_tag(pinned, "blueprint.pin", "true")
    unpinned = store.run()
    store.client.set_tag(unpinned, "blueprint.pin", "false")
    store.rules()
    assert actions(store.plan()) == {sibling: "delete", unpinned: "delete"}
    store.apply(store.plan())
    assert all(map(store.has_files, (grandparent, parent, pinned, running)))
    assert not store.has_files(sibling)


def test_a_pinned_model_keeps_its_run(store: Store) -> None:
    run = store.run()
    model = store.model(run)
    store.client.set_logged_model_tags(model, {"blueprint.pin": "yes"})
    store.rules()
    assert actions(store.plan()) == {}


@pytest.mark.parametrize(
    "earned", ["alias", "blueprint.approved_by", "blueprint.champion_until"]
)
def test_versions_with_alias_approval_or_former_championship_keep_their_lineage(
    store: Store, earned: str
) -> None:
    upstream, parent, other = store.run(), store.run(), store.run()
    run = store.run(parent=parent)
    store.client.set_tag(run, "blueprint.upstream", upstream)
    model = store.model(run)
    version = store.version(model, alias="champion" if earned == "alias" else "")
    if earned != "alias":
        store.client.set_model_version_tag(MODEL, version, earned, "somebody")
    newer = store.version(store.model(other))
    store.rules(versions=[{"name": MODEL}])
    plan = store.plan()
    assert actions(plan) == {f"{MODEL}/{newer}": "delete"}, "the version goes first"
    store.apply(plan)
    assert actions(store.plan()).keys() == {other, *models_of(store, other)}
    store.apply(store.plan())
    assert all(map(store.has_files, (upstream, parent, run, model)))
    assert not store.has_files(other)
    assert versions(store) == [version]


def versions(store: Store) -> list[str]:
    return [str(version.version) for version in store.client.search_model_versions()]


def models_of(store: Store, run: str) -> set[str]:
    found = store.client.search_logged_models([store.experiment])
    return {model.model_id for model in found if model.source_run_id == run}


def test_without_a_rule_for_versions_every_version_keeps_its_run(store: Store) -> None:
    run = store.run()
    store.version(store.model(run))
    store.rules()
    assert actions(store.plan()) == {}


def test_versions_keep_the_last_ones(store: Store) -> None:
    runs = [store.run() for _ in range(3)]
    for run in runs:
        store.version(store.model(run))
    store.rules(versions=[{"name": MODEL, "last": 1}])
    store.apply(store.plan())
    assert versions(store) == ["3"]
    assert all(map(store.has_files, runs)), "until it is gone, a version protects"
    store.apply(store.plan())
    assert [store.has_files(run) for run in runs] == [False, False, True]
    retired = [line for line in store.read_journal() if line["kind"] == "version"]
    assert [(line["id"], line["did"]) for line in retired] == [
        (f"{MODEL}/1", "deleted"),
        (f"{MODEL}/2", "deleted"),
    ]


def test_a_champion_whose_model_row_was_deleted_keeps_its_files(store: Store) -> None:
    model = store.model(store.run())
    store.version(model, alias="champion")
    store.client.delete_logged_model(model)
    store.rules(prune={"all_after_days": 1, "orphans": True})
    store.apply(store.plan())
    assert store.has_files(model)


def test_an_experiment_without_rules_is_left_alone(store: Store) -> None:
    place = (store.folder / "other").as_uri()
    other = store.client.create_experiment("other", place)
    run = store.client.create_run(other, start_time=1)
    store.client.set_terminated(run.info.run_id)
    store.write(run.info.artifact_uri, {"file": 1})
    store.run()
    store.rules()
    plan = store.plan()
    assert run.info.run_id not in {item.id for item in plan.items}


# What goes --------------------------------------------------------------------------


def test_metadata_stays_with_a_tag_that_says_what_went_and_why(store: Store) -> None:
    run = store.run(auc=0.5)
    model = store.model(run)
    store.rules()
    store.apply(store.plan())
    tags = store.tags(run)
    assert list(tags) == ["blueprint.pruned"]
    assert "everything, 1000 bytes: prune.all_after_days" in tags["blueprint.pruned"]
    assert store.client.get_run(run).data.metrics == {"auc": 0.5}
    assert "blueprint.pruned" in store.client.get_logged_model(model).tags
    left = [path for path in (store.folder / "artifacts").rglob("*")]
    assert [path.name for path in left] == ["models"], "empty folders go, too"
    assert actions(store.plan()) == {}, "what is gone is not planned again"


def test_whole_runs_go_only_when_asked(store: Store) -> None:
    run = store.run()
    model = store.model(run)
    store.rules(prune={"all_after_days": 30, "metadata": "delete"})
    store.apply(store.plan())
    assert store.client.get_run(run).info.lifecycle_stage == "deleted"
    assert not store.client.search_logged_models([store.experiment])
    assert not store.has_files(model)


def test_artifacts_by_glob_go_and_the_others_stay(store: Store) -> None:
    files = {"checkpoints/1.pt": 100, "checkpoints/deep/2.pt": 100, "model.json": 7}
    old, young = store.run(50, files), store.run(5, files)
    globs = [{"match": ["checkpoints/*"], "after_days": 30}]
    store.rules(prune={"artifacts": globs})
    plan = store.plan()
    assert actions(plan) == {old: "delete"}
    assert plan.totals == {"now": 414, "after": 214, "after_grace": 214}
    store.apply(plan)
    folder = store.folder / "artifacts" / old / "artifacts"
    assert [path.name for path in folder.rglob("*")] == ["model.json"]
    assert store.has_files(young)
    assert "checkpoints/*" in store.tags(old)["blueprint.pruned"]


def test_failed_runs_go_earlier(store: Store) -> None:
    failed, killed = store.run(20, status="FAILED"), store.run(20, status="KILLED")
    store.run(20)
    store.rules(prune={"failed_after_days": 10})
    assert actions(store.plan()).keys() == {failed, killed}


def test_under_a_budget_the_oldest_unprotected_go_first(store: Store) -> None:
    runs = [store.run(days, {"a": 1000}) for days in (50, 40, 30, 20)]
    store.client.set_tag(runs[0], "blueprint.pin", "true")
    store.rules(prune={"budget": "2.5 kB"})
    assert actions(store.plan()) == {runs[1]: "delete", runs[2]: "delete"}


def test_orphans_that_no_row_names_go_and_foreign_folders_stay(store: Store) -> None:
    known, orphan, foreign = store.run(5), "0" * 32, "my-own-files"
    model = store.model(store.run(5))
    store.client.delete_logged_model(model)
    for name in (orphan, foreign, f"traces/tr-{orphan}"):
        store.write((store.folder / "artifacts" / name).as_uri(), {"artifacts/a": 5})
    store.rules(keep={"younger_than_days": 30}, prune={"orphans": True})
    plan = store.plan()
    assert actions(plan).keys() == {orphan, model, f"tr-{orphan}"}
    store.apply(plan)
    assert store.has_files(known)
    assert store.has_files(foreign)
    assert not store.has_files(orphan)
    store.rules(keep={"younger_than_days": 30}, prune={})
    assert actions(store.plan()) == {}


def test_an_orphan_that_has_a_row_by_now_stays(store: Store) -> None:
    orphan = "0" * 32
    place = (store.folder / "artifacts" / orphan / "artifacts").as_uri()
    store.write(place, {"a": 5})
    store.rules(prune={"orphans": True})
    plan = store.plan()
    other = store.client.create_experiment("other", "file:///nowhere")
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        change = "UPDATE runs SET run_uuid = ? WHERE run_uuid = ?"
        run = store.client.create_run(other).info.run_id
        database.execute(change, (orphan, run))
    assert did(store.apply(plan), orphan) == "no longer what it was"
    assert store.has_files(orphan)


def test_traces_go_by_age_and_those_of_kept_runs_stay(store: Store) -> None:
    kept = store.run(5)
    traces = [add_trace(store), add_trace(store, run=kept)]
    store.rules(keep={"last": 1}, prune={"all_after_days": 0})
    plan = store.plan()
    assert actions(plan) == {traces[0]: "delete"}
    place = store.folder / "artifacts" / "traces" / traces[0]
    store.write((place / "artifacts").as_uri(), {"traces.json": 5})
    store.apply(plan)
    assert not place.exists()
    left = store.client.search_traces(locations=[store.experiment])
    assert [trace.info.trace_id for trace in left] == traces[1:]


def add_trace(store: Store, run: str = "") -> str:
    import mlflow

    mlflow.set_experiment(EXPERIMENT)
    if run:
        with mlflow.start_run(run), mlflow.start_span("ask") as span:
            pass
    else:
        with mlflow.start_span("ask") as span:
            pass
    mlflow.flush_trace_async_logging()
    return span.trace_id


# The way back -----------------------------------------------------------------------


def test_the_first_apply_only_marks_and_unmark_undoes_it(store: Store) -> None:
    run = store.run()
    store.rules(grace_days=7)
    store.apply(store.plan())
    assert store.has_files(run)
    mark = store.tags(run)["blueprint.prune"]
    due = datetime.fromisoformat(mark.split()[0]) - datetime.now(UTC)
    assert timedelta(days=6.99) < due <= timedelta(days=7)
    assert mark.endswith("everything: prune.all_after_days")
    assert actions(store.plan()) == {run: "wait"}
    assert not store.apply(store.plan()), "waiting is not an action"
    assert store.retention.apply.unmark(store.rules_file, (run,)) == 1
    assert store.tags(run) == {}
    assert actions(store.plan()) == {run: "mark"}


def test_the_bytes_go_with_the_first_apply_after_the_grace_period(store: Store) -> None:
    run, other = store.run(), store.run()
    store.model(run)
    version = f"{MODEL}/{store.version(store.model(other))}"
    store.rules(grace_days=7, versions=[{"name": MODEL}])
    marked = store.apply(store.plan())
    assert {line["did"] for line in marked} == {"marked"}
    store.let_grace_pass()
    done = store.apply(store.plan())
    assert {line["did"] for line in done} == {"deleted"}
    assert did(done, version) == "deleted"
    assert not store.has_files(run)
    assert store.has_files(other), "its own grace period begins now"
    assert actions(store.plan())[other] == "mark"
    assert list(store.tags(run)) == ["blueprint.pruned"]


def test_a_mark_for_some_artifacts_allows_no_deletion_of_all(store: Store) -> None:
    run = store.run(50, {"a.pt": 5, "b.txt": 5})
    past = "2020-01-01T00:00:00+00:00"
    store.client.set_tag(run, "blueprint.prune", f"{past} *.pt: prune.artifacts")
    store.rules(grace_days=7)
    assert actions(store.plan()) == {run: "mark"}
    globs = [{"match": ["*.pt"], "after_days": 30}]
    store.rules(grace_days=7, prune={"artifacts": globs})
    assert actions(store.plan()) == {run: "delete"}


def test_what_was_interrupted_before_its_tag_is_finished_by_a_new_plan(
    store: Store,
) -> None:
    some, whole = store.run(50, {"b.txt": 5}), store.run(50, {}, status="FAILED")
    past = "2020-01-01T00:00:00+00:00"
    store.client.set_tag(some, "blueprint.prune", f"{past} *.pt: prune.artifacts")
    mark = f"{past} everything: prune.failed_after_days"
    store.client.set_tag(whole, "blueprint.prune", mark)
    globs = [{"match": ["*.pt"], "after_days": 30}]
    prune = {"artifacts": globs, "failed_after_days": 10}
    store.rules(grace_days=7, prune=prune)
    store.apply(store.plan())
    assert "*.pt" in store.tags(some)["blueprint.pruned"]
    assert list(store.tags(some)) == list(store.tags(whole)) == ["blueprint.pruned"]
    assert store.has_files(some)


def test_an_unmarked_thing_gets_a_new_grace_period(store: Store) -> None:
    run = store.run()
    past = "2020-01-01T00:00:00+00:00"
    mark = f"{past} everything: prune.all_after_days"
    store.client.set_tag(run, "blueprint.prune", mark)
    store.rules(grace_days=7)
    plan = store.plan()
    assert actions(plan) == {run: "delete"}
    store.client.delete_tag(run, "blueprint.prune")
    assert did(store.apply(plan), run) == "marked"
    assert store.has_files(run)


def test_a_thing_that_is_protected_again_loses_its_mark(store: Store) -> None:
    run = store.run()
    store.rules(grace_days=7)
    store.apply(store.plan())
    store.client.set_tag(run, "blueprint.pin", "true")
    plan = store.plan()
    assert actions(plan) == {run: "unmark"}
    store.apply(plan)
    assert store.tags(run) == {"blueprint.pin": "true"}


def test_orphans_are_marked_on_their_experiment(store: Store) -> None:
    orphan = "0" * 32
    place = (store.folder / "artifacts" / orphan / "artifacts").as_uri()
    store.write(place, {"a": 5})
    store.rules(grace_days=7, prune={"orphans": True})
    store.apply(store.plan())
    assert list(experiment_tags(store)) == [f"blueprint.prune.{orphan}"]
    assert store.has_files(orphan)
    store.let_grace_pass()
    store.apply(store.plan())
    assert not store.has_files(orphan)
    assert not experiment_tags(store)


def experiment_tags(store: Store) -> dict[str, str]:
    tags = store.client.get_experiment(store.experiment).tags
    return {k: v for k, v in tags.items() if k.startswith("blueprint.")}


def test_without_grace_the_plan_says_that_nothing_undoes_it(store: Store) -> None:
    store.run()
    store.rules(grace_days=0)
    assert "nothing undoes that" in " ".join(store.plan().notes)
    store.rules(grace_days=7)
    assert store.plan().notes == []


# Between plan and apply -------------------------------------------------------------


def test_a_run_that_becomes_champion_between_plan_and_apply_survives(
    store: Store,
) -> None:
    run, other = store.run(), store.run()
    model = store.model(run)
    store.rules()
    plan = store.plan()
    assert actions(plan).keys() == {run, model, other}
    store.version(model, alias="champion")
    done = store.apply(plan)
    assert did(done, run).startswith("kept")
    assert store.has_files(run)
    assert store.has_files(model)
    assert not store.has_files(other)


@pytest.mark.parametrize("reads", [1, 5])
def test_an_alias_that_is_set_while_apply_runs_protects(
    store: Store, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    first, run = store.run(100), store.run(90)
    lone, model = store.model(), store.model(run)
    store.version(lone, name="other")
    version = store.version(store.model(store.run(80)))
    store.rules(versions=[{"name": MODEL}, {"name": "other"}])
    plan = store.plan()
    versions = {f"{MODEL}/{version}", "other/1"}
    assert actions(plan).keys() == {*versions, first, run, model}
    assert len(actions(plan)) == 5
    monkeypatch.setattr(store.retention.apply, "BATCH", 1)
    monkeypatch.setattr(store.retention.apply, "LOOKS", 100 if reads == 5 else 1)
    inventory = store.retention.inventory.Inventory
    read, versions_now, looks = inventory.read, inventory.versions, []

    def promote_after_the_first_look(self: object) -> object:
        result = versions_now(self)
        if looks.count("versions") == 0:
            store.client.set_registered_model_alias(MODEL, "champion", version)
            store.version(model, name="new")
        looks.append("versions")
        return result

    def count(self: object) -> object:
        looks.append("all")
        return read(self)

    monkeypatch.setattr(inventory, "versions", promote_after_the_first_look)
    monkeypatch.setattr(inventory, "read", count)
    done = store.apply(plan)
    assert (looks.count("all"), looks.count("versions")) == (reads, 5)
    by_id = {line["id"]: line["did"] for line in done}
    assert by_id[f"{MODEL}/{version}"] == "kept: alias champion"
    assert by_id[run] == by_id[model] == "kept: version new/1 came from it"
    assert store.has_files(run)
    assert store.has_files(model)
    assert not store.has_files(first)


@pytest.mark.parametrize("change", ["pin", "pinned child", "model pin", "running"])
def test_what_is_protected_between_plan_and_apply_survives(
    store: Store, change: str
) -> None:
    run = store.run()
    model, child = store.model(run), store.run(parent=run)
    store.rules()
    plan = store.plan()
    if change == "pin":
        store.client.set_tag(run, "blueprint.pin", "true")
    elif change == "pinned child":
        store.client.set_tag(child, "blueprint.pin", "true")
    elif change == "model pin":
        store.client.set_logged_model_tags(model, {"blueprint.pin": "true"})
    else:
        store.client.update_run(run, status="RUNNING")
    assert did(store.apply(plan), run).startswith("kept")
    assert store.has_files(run)


def test_an_old_plan_is_refused(store: Store) -> None:
    run = store.run()
    store.rules()
    plan = store.plan()
    plan.created = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    with pytest.raises(store.retention.errors.BlueprintError, match="more than a day"):
        store.apply(plan)
    assert store.has_files(run)


def test_a_plan_of_another_store_is_refused(store: Store, tmp_path: Path) -> None:
    store.run()
    store.rules()
    plan = store.plan()
    (tmp_path / "second").mkdir()
    second = Store(store.retention, tmp_path / "second")
    second.run()
    second.rules()
    with pytest.raises(store.retention.errors.BlueprintError, match="another store"):
        second.apply(plan)


def test_a_plan_of_other_rules_is_refused(store: Store) -> None:
    store.run()
    store.rules()
    plan = store.plan()
    store.rules(keep={"last": 5})
    with pytest.raises(store.retention.errors.BlueprintError, match="other rules"):
        store.apply(plan)


# Dangerous places -------------------------------------------------------------------


def test_paths_outside_the_artifact_root_are_refused(store: Store) -> None:
    outside, sideways = store.run(), store.run()
    precious = store.folder / "precious" / "artifacts"
    precious.mkdir(parents=True)
    (precious / "file").write_text("x")
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        change = "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?"
        database.execute(change, (precious.as_uri(), outside))
        up = f"{(store.folder / 'artifacts').as_uri()}/../precious/artifacts"
        database.execute(change, (up, sideways))
    store.rules()
    plan = store.plan()
    assert all("is outside" in item.protected_by for item in plan.items)
    assert actions(plan) == {}
    for item in plan.items:
        item.action, item.rule = "delete", "forged"
    up = type(plan.items[0])("run", "../precious", EXPERIMENT, action="delete")
    done = store.apply(plan.model_copy(update={"items": [*plan.items, up]}))
    assert [line["did"][:5] for line in done] == ["kept:", "kept:", "no lo"]
    assert (precious / "file").exists()


def test_a_link_that_leads_out_of_the_root_is_refused(store: Store) -> None:
    run = store.run(files={})
    target = store.folder / "elsewhere"
    healthy, model = store.run(), store.model(run, files={})
    (target / model / "artifacts").mkdir(parents=True)
    (target / model / "artifacts" / "file").write_text("x")
    os.symlink(target, store.folder / "artifacts" / "models")
    os.symlink(target / model, store.folder / "artifacts" / run)
    store.rules(prune={"all_after_days": 30, "metadata": "delete"})
    done = store.apply(store.plan())
    assert (target / model / "artifacts" / "file").exists()
    failed = [line for line in done if line["did"] == "failed"]
    assert {line["id"] for line in failed} == {run, model}
    assert all("leads elsewhere" in line["error"] for line in failed)
    assert not store.has_files(healthy), "the others go on"


def test_a_link_inside_a_run_is_removed_and_its_target_stays(store: Store) -> None:
    run = store.run()
    target = store.folder / "elsewhere"
    target.mkdir()
    (target / "file").write_text("x")
    os.symlink(target, store.folder / "artifacts" / run / "artifacts" / "link")
    store.rules()
    store.apply(store.plan())
    assert (target / "file").exists()
    assert not store.has_files(run)


class BackendError(Exception):
    """What a store's own library raises, as boto3 does."""


def test_single_errors_do_not_stop_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [store.run() for _ in range(3)]
    storage = store.retention.storage.Storage
    delete = storage.delete

    def fail_for_the_second(self: object, item: object) -> None:
        if item.id == runs[1]:
            raise BackendError("not allowed")
        delete(self, item)

    monkeypatch.setattr(storage, "delete", fail_for_the_second)
    store.rules()
    done = store.apply(store.plan())
    assert did(done, runs[1]) == "failed"
    assert store.tags(runs[1]) == {}, "bytes go before metadata"
    assert [store.has_files(run) for run in runs] == [False, True, False]
    errors = [line["error"] for line in store.read_journal() if "error" in line]
    assert errors == ["not allowed"]


@pytest.mark.parametrize("metadata", ["keep", "delete"])
@pytest.mark.parametrize("grace_days", [0, 7])
def test_a_plan_that_is_applied_twice_changes_nothing_more(
    store: Store, grace_days: int, metadata: str
) -> None:
    run, other = store.run(), store.run()
    store.model(run)
    orphan = "0" * 32
    place = (store.folder / "artifacts" / orphan / "artifacts").as_uri()
    store.write(place, {"a": 5})
    past = "2020-01-01T00:00:00+00:00 everything"
    store.client.set_tag(run, "blueprint.prune", f"{past}: prune.all_after_days")
    mark = (f"blueprint.prune.{orphan}", f"{past}: prune.orphans")
    store.client.set_experiment_tag(store.experiment, *mark)
    prune = {"all_after_days": 30, "orphans": True, "metadata": metadata}
    store.rules(grace_days=grace_days, prune=prune)
    plan = store.plan()
    assert not [line for line in store.apply(plan) if "error" in line]
    before = (store.tags(run), store.tags(other), experiment_tags(store))
    again = store.apply(plan)
    assert {line["did"] for line in again} <= {"no longer what it was", "marked"}
    assert did(again, run) == did(again, orphan) == "no longer what it was"
    assert (store.tags(run), store.tags(other), experiment_tags(store)) == before


def test_the_journal_is_only_appended_to(store: Store) -> None:
    store.rules()
    for _ in range(2):
        store.run()
        before = store.journal.read_text() if store.journal.exists() else ""
        store.apply(store.plan())
        assert store.journal.read_text().startswith(before)
    assert [line["did"] for line in store.read_journal()] == ["deleted"] * 2


# Status -----------------------------------------------------------------------------


def test_status_shows_sizes_growth_and_marks(store: Store) -> None:
    run, model = store.run(100), store.model(store.run(5))
    orphan = (store.folder / "artifacts" / ("0" * 32) / "artifacts").as_uri()
    store.write(orphan, {"a": 5})
    store.rules(grace_days=7, keep={"younger_than_days": 30})
    store.apply(store.plan())
    status = store.retention.show.status(store.plan())
    sizes = {size["kind"]: size for size in status["sizes"]}
    assert sizes["run"]["bytes"] == 2000
    assert sizes["run"]["bytes_of_last_30_days"] == 1000
    assert sizes["run"]["next_plan_frees"] == 1000
    assert sizes["model"]["bytes"] == 510
    assert sizes["orphan"]["bytes"] == 5
    assert [item.id for item in status["marked"]] == [run]
    assert model not in {item.id for item in status["marked"]}


def test_a_plan_reads_only(store: Store) -> None:
    store.version(store.model(store.run()), alias="champion")
    store.run()
    store.rules(grace_days=0, prune={"all_after_days": 0, "orphans": True})
    before = content(store.folder)
    store.plan()
    assert content(store.folder) == before


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_plan_file_reads_back_as_it_was(store: Store, tmp_path: Path) -> None:
    store.run()
    store.rules()
    plan = store.plan()
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    assert store.retention.plan.read_plan(tmp_path / "plan.json") == plan
    (tmp_path / "plan.json").write_text(json.dumps({"items": []}))
    with pytest.raises(store.retention.errors.BlueprintError, match="is no plan"):
        store.retention.plan.read_plan(tmp_path / "plan.json")
