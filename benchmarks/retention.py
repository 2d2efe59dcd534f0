"""Pruning: a plan over 10,000 runs, apply beside `mlflow gc`, and 200 kills.

    make bench BENCH_ARGS="--only pruning"

The stores are written with SQL, since MLflow's client needs tens of milliseconds a run.
A broken bound stops the benchmark. Each step runs in a process of its own, as
`python -m benchmarks.retention STEP PROJECT FOLDER`.
"""

import json
import shutil
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import support
from tests.retention_kills import Kills, kill_and_compare
from tests.retention_support import DAY, Store, load_retention

from .journey import BenchmarkError

PACKAGE = "mortgage_approval"
RUNS, KILLS = 10_000, 200
SECONDS = 10  # at most, of a plan over so many runs
MEGABYTES = 150  # at most, and not more of them with ten times as many files
MARGIN = 1.0  # of `mlflow gc`'s time for each run


def fill(store: Store, runs: int, files: int, deleted: bool = False) -> None:
    """Add runs of the last 400 days, each with parameters, metrics, tags and files."""
    root, now = store.folder / "artifacts", int(time.time() * 1000)
    rows: dict[str, list[tuple[Any, ...]]] = {
        name: [] for name in ("runs", "params", "latest_metrics", "tags")
    }
    stage = "deleted" if deleted else "active"
    for number in range(runs):
        run = uuid.uuid4().hex
        start = now - int(400 * DAY * (1 - number / runs)) - DAY
        place = root / run / "artifacts"
        described = (run, f"run{number}", "LOCAL", "", "", "me", "FINISHED")
        placed = ("", stage, place.as_uri(), int(store.experiment), start)
        rows["runs"].append((*described, start, start, *placed))
        rows["params"] += [(f"p{i}", "value", run) for i in range(10)]
        rows["latest_metrics"] += [
            (f"m{i}", number % 97, 0, 0, 0, run) for i in range(5)
        ]
        rows["tags"] += [(f"t{i}", "value", run) for i in range(8)]
        for file in range(files):
            folder = place / f"folder{file % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"file{file}").write_bytes(b"x" * 100)
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        for table, values in rows.items():
            marks = ",".join("?" * len(values[0]))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)


def in_a_process(step: str, project: Path, folder: Path) -> dict[str, float]:
    """Do a step of this module in a fresh process; return what it measured."""
    command = [sys.executable, "-m", "benchmarks.retention", step, project, folder]
    done = support.run(*map(str, command), cwd=support.ROOT, timeout=3600)
    return json.loads(done.stdout.splitlines()[-1])


def measured(action: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds of an action, and the megabytes that it added at its peak."""
    before, started, used = peak(), time.perf_counter(), time.process_time()
    action()
    return {
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - used,
        "megabytes": peak() - before,
    }


def peak() -> float:
    """Return the most memory that this process has had, in megabytes.

    From /proc: what `resource` says includes the process that started this one.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def open_store(project: Path, folder: Path) -> Store:
    """Return the store of a folder."""
    return Store(load_retention(project, PACKAGE, folder.parent), folder)


def do_plan(project: Path, folder: Path) -> dict[str, float]:
    """Measure a plan, after MLflow's imports and its first query."""
    store = open_store(project, folder)
    store.client.search_runs([store.experiment], max_results=1)
    return measured(store.plan)


def do_apply(project: Path, folder: Path) -> dict[str, float]:
    """Measure the application of a plan."""
    store = open_store(project, folder)
    plan = store.plan()
    found = measured(lambda: store.apply(plan))
    return found | {"runs": sum(item.action == "delete" for item in plan.items)}


def do_gc(project: Path, folder: Path) -> dict[str, float]:
    """Measure `mlflow gc` of runs that were deleted before, without its imports."""
    from mlflow.cli import gc

    store = open_store(project, folder)
    count = len(store.client.search_runs([store.experiment], "", 2, 50_000))
    arguments = ["--backend-store-uri", store.uri]
    # Its own message for each run goes to the standard error.
    return measured(lambda: gc(arguments, standalone_mode=False)) | {"runs": count}


def plans(project: Path, folder: Path) -> Iterator[str]:
    """Show the time and memory of a plan, with few and with many files."""
    for files in (2, 20):
        place = folder / f"plan{files}"
        place.mkdir()
        store = open_store(project, place)
        fill(store, RUNS, files)
        best = [{"metric": "m0", "order": "highest", "count": 5}]
        keep = {"last": 20, "younger_than_days": 30, "best": best}
        globs = [{"match": ["folder0/*"], "after_days": 60}]
        prune = {"all_after_days": 180, "artifacts": globs, "budget": "1 GB"}
        store.rules(keep=keep, prune=prune | {"orphans": True})
        found = in_a_process("plan", project, place)
        shutil.rmtree(place)
        yield (
            f"plan over {RUNS} runs with {files} files each: "
            f"{found['seconds']:.1f} s, {found['processor']:.1f} s of processor, "
            f"{found['megabytes']:.0f} MB"
        )
        refuse(found["seconds"] > SECONDS, f"a plan takes more than {SECONDS} s")
        refuse(found["megabytes"] > MEGABYTES, f"it takes more than {MEGABYTES} MB")


def refuse(broken: bool, what: str) -> None:
    """Stop if a bound is broken."""
    if broken:
        raise BenchmarkError(f"{what}.")


def against_gc(project: Path, folder: Path, runs: int) -> Iterator[str]:
    """Show apply beside `mlflow gc`, on equal stores in alternating order.

    The best of four rounds counts: most of either is waiting for the disk, which
    others use as well.
    """
    found: dict[str, list[dict[str, float]]] = {"apply": [], "gc": []}
    for number in range(4):
        for step in sorted(found, reverse=bool(number % 2)):
            place = folder / f"{step}{number}"
            place.mkdir()
            store = open_store(project, place)
            fill(store, runs, 4, deleted=step == "gc")
            store.rules(prune={"all_after_days": 0})
            found[step].append(in_a_process(step, project, place))
            refuse(found[step][-1]["runs"] != runs, f"{step} left runs")
            shutil.rmtree(place)
    for what in ("seconds", "processor"):
        ours, theirs = (
            1000 * min(round[what] for round in found[step]) / runs
            for step in ("apply", "gc")
        )
        yield (
            f"{what} for each of {runs} runs with 4 files: apply {ours:.1f} ms, "
            f"mlflow gc {theirs:.1f} ms: {ours / theirs:.2f} of it"
        )
        refuse(ours > MARGIN * theirs, "apply is slower than mlflow gc")


def kills(project: Path, folder: Path) -> Iterator[str]:
    """Show that the store ends the same after so many kills."""
    folder.mkdir()
    points = kill_and_compare(Kills(project, PACKAGE, folder), KILLS, seed=1)
    yield f"killed {KILLS} times at one of {points} points: the store ends the same"


def measure(project: Path, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Return the figures as sentences, on a rendered default project."""
    lines = []
    for part in (
        plans(project, folder),
        against_gc(project, folder, RUNS // 10),
        kills(project, folder / "kills"),
    ):
        for line in part:
            say(line)
            lines.append(line)
    return lines


def main() -> None:
    """Do one step in this process, and print what it measured."""
    steps = {"plan": do_plan, "apply": do_apply, "gc": do_gc}
    project, folder = map(Path, sys.argv[2:])
    print(json.dumps(steps[sys.argv[1]](project, folder)))


if __name__ == "__main__":
    main()
