"""Kill `apply` at random points, run it again, and compare with an undisturbed run.

Each step runs in a process of its own, forked from one that has imported MLflow. A
process is killed before a random one of its calls that reach the disk or database, so
that every point between two of them is as likely as any other.
"""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from .retention_support import MODEL, PAST, Store, load_retention

REACHES_OUT = {
    *("execute", "executemany", "commit", "unlink", "rmdir", "remove", "scandir"),
    *("write", "flush", "fsync", "rename", "replace", "mkdir"),
}
SAME, NEW = "the same plan", "new plans until nothing is left to do"


class Kills:
    """A store with everything that `apply` can meet, in a pristine copy and in use."""

    def __init__(self, project: Path, package: str, folder: Path) -> None:
        self.arguments = (project, package, folder)
        self.pristine, self.used = folder / "pristine", folder / "store"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            [
                *("mlflow", "mlflow.pyfunc", "mlflow.pyfunc.model", "pandas", __name__),
                "mlflow.store.tracking.sqlalchemy_store",
                "mlflow.store.model_registry.sqlalchemy_store",
            ]
        )
        self.context = context

    def prepare(self, grace_days: float) -> int:
        """Build the store, note the undisturbed end; return the number of points."""
        shutil.rmtree(self.used, ignore_errors=True)
        shutil.rmtree(self.pristine, ignore_errors=True)
        self._do(build, grace_days)
        shutil.copytree(self.used, self.pristine)
        points = int(self._do(apply, 0))
        self.expected = self._do(finish, SAME)
        self.ends = {SAME: self.expected, NEW: self._do(finish, NEW)}
        return points

    def kill(self, point: int, then: str) -> dict[str, Any]:
        """Return how the store ends if it is killed at a point and applied again."""
        shutil.rmtree(self.used)
        shutil.copytree(self.pristine, self.used)
        assert self._do(apply, point) is None, "was not killed"
        return self._do(finish, then)

    def _do(self, step: Callable[..., Any], argument: Any) -> Any:
        answer = self.arguments[2] / "answer.json"
        answer.unlink(missing_ok=True)
        process = self.context.Process(
            target=run_step, args=(step, self.arguments, argument, answer)
        )
        process.start()
        process.join(300)
        killed = process.exitcode == -signal.SIGKILL
        assert killed or process.exitcode == 0, f"{step.__name__} failed"
        return None if killed else json.loads(answer.read_text())


def kill_and_compare(kills: Kills, count: int, seed: int) -> int:
    """Kill at so many random points; return how many points there were."""
    chance = random.Random(seed)
    total = 0
    for grace_days, thens in ((7, [SAME, NEW]), (0, [SAME])):
        points = kills.prepare(grace_days)
        total += points
        for number in range(count // 2):
            point, then = chance.randint(1, points), thens[number % len(thens)]
            end = kills.kill(point, then)
            lines, expected = flat(end), flat(kills.ends[then])
            assert lines == expected, (
                f"{sorted(lines ^ expected)} differ: killed at point {point} of "
                f"{points}, grace {grace_days} days, then {then} (seed {seed})"
            )
    return total


def flat(end: dict[str, Any]) -> set[str]:
    """Return what a store holds as lines, so that a failure shows which differ."""
    return {
        f"{kind} {entry} {found[entry] if isinstance(found, dict) else ''}"
        for kind, found in end.items()
        for entry in found
    }


def run_step(
    step: Callable[..., Any], arguments: tuple[Any, ...], argument: Any, answer: Path
) -> None:
    """Do a step in this process, and write what it returns."""
    project, package, folder = arguments
    retention = load_retention(project, package, folder)
    (folder / "store").mkdir(exist_ok=True)
    result = step(Store(retention, folder / "store"), argument)
    answer.write_text(json.dumps(result))


def build(store: Store, grace_days: float) -> None:
    """Fill a store: runs with models, versions of every standing, marks, orphans."""
    model_files = save_model(store.folder / "model")
    globs = [{"match": ["*.pt"], "after_days": 10}]
    prune = {"all_after_days": 30, "artifacts": globs, "orphans": True}
    store.rules(
        grace_days=grace_days,
        keep={"last": 2},
        prune=prune | {"failed_after_days": 5},
        versions=[{"name": MODEL, "last": 1}],
    )
    mark = f"{PAST} everything: prune.all_after_days"
    for number in range(8):
        parent = store.run(90) if number % 4 == 3 else ""
        run = store.run(100 - number, {"a.txt": 10, "b/c.txt": 10}, parent=parent)
        model = store.model(run, {})
        place = store.folder / "artifacts" / "models" / model / "artifacts"
        shutil.copytree(model_files, place)
        if number % 2:
            store.client.set_tag(run, "blueprint.prune", mark)
            store.client.set_logged_model_tags(model, {"blueprint.prune": mark})
        if number < 5:
            version = store.version(model, alias="champion" if number == 3 else "")
            if number == 1:
                due = f"{PAST} everything: versions"
                tag = (MODEL, version, "blueprint.prune", due)
                store.client.set_model_version_tag(*tag)
            if number == 2:
                tag = (MODEL, version, "blueprint.approved_by", "somebody")
                store.client.set_model_version_tag(*tag)
    for number in range(2):
        run = store.run(20, {"a.pt": 10, "b.txt": 10, "c/d.pt": 5})
        due = f"{PAST} *.pt: prune.artifacts"
        if number:
            store.client.set_tag(run, "blueprint.prune", due)
    store.run(8, status="FAILED")
    pinned = store.run(95)
    store.client.set_tag(pinned, "blueprint.pin", "true")
    store.client.set_tag(pinned, "blueprint.prune", mark)
    for name in ("0" * 32, f"models/m-{'1' * 32}"):
        place = store.folder / "artifacts" / name / "artifacts"
        store.write(place.as_uri(), {"file": 5})
    key = f"blueprint.prune.{'0' * 32}"
    due = f"{PAST} everything: prune.orphans"
    store.client.set_experiment_tag(store.experiment, key, due)
    for _ in range(2):
        store.run(1)
    plan = store.plan().model_dump_json()
    (store.folder / "plan.json").write_text(plan)


def save_model(folder: Path) -> Path:
    """Save a model that answers with its input's number of rows."""
    import mlflow

    class Rows(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [len(model_input)] * len(model_input)

    mlflow.pyfunc.save_model(folder, python_model=Rows(), pip_requirements=[])
    return folder


def apply(store: Store, point: int) -> int:
    """Apply the plan; kill this process at a point, if one is given."""
    calls = 0

    def count(frame: FrameType, event: str, called: Any) -> None:
        nonlocal calls
        if event == "c_call" and called.__name__ in REACHES_OUT:
            calls += 1
            if calls == point:
                os.kill(os.getpid(), signal.SIGKILL)

    plan = store.retention.plan.read_plan(store.folder / "plan.json")
    sys.setprofile(count)
    store.apply(plan)
    sys.setprofile(None)
    return calls


def finish(store: Store, then: str) -> dict[str, Any]:
    """Apply again, and return everything that the store holds, without its times."""
    plan = store.retention.plan.read_plan(store.folder / "plan.json")
    while then in (SAME, NEW):
        plan = store.plan() if then == NEW else plan
        done = store.apply(plan)
        assert not [line for line in done if "error" in line]
        if then == SAME or not done:
            break
    return content(store)


def content(store: Store) -> dict[str, Any]:
    """Return files, rows and the answers of every version that is registered."""
    import mlflow
    import pandas as pd

    def timeless(tags: dict[str, str]) -> dict[str, str]:
        ours = {k: v for k, v in tags.items() if k.startswith("blueprint.")}
        # The bytes are those of the plan, of which a new one finds fewer.
        return {
            k: re.sub(r"\d+ bytes|20[2-9]\d-\S+", "", v)
            for k, v in ours.items()
            if not v.startswith(PAST)
        } | {k: v for k, v in ours.items() if v.startswith(PAST)}

    root, client = store.folder / "artifacts", store.client
    runs = client.search_runs([store.experiment], run_view_type=3)
    models = client.search_logged_models([store.experiment])
    versions = client.search_model_versions()
    example = pd.DataFrame({"x": [1, 2]})
    return {
        "files": sorted(
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.name != "registered_model_meta"  # MLflow's, of a loaded version
        ),
        "runs": {
            run.info.run_id: [run.info.lifecycle_stage, timeless(run.data.tags)]
            for run in runs
        },
        "models": {model.model_id: timeless(model.tags) for model in models},
        "experiment": timeless(client.get_experiment(store.experiment).tags),
        "answers": {
            str(version.version): list(
                mlflow.pyfunc.load_model(f"models:/{MODEL}/{version.version}").predict(
                    example
                )
            )
            for version in versions
        },
    }
