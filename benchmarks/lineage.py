"""What lineage adds to a training run, in time and in bytes of the store.

Each figure is a ratio within one session; a broken bound ends with 1.

    python -m benchmarks.lineage [--rounds 5] [--runs 100]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests import support
from tests.support import Project

WHOLE_PROCESS, WARM, GROWTH = 1.15, 1.3, 0.01

IN_PROCESS = """
import json, logging, sys, time
from importlib.metadata import entry_points
from pathlib import Path
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

for plugin in entry_points(group="kedro.init"):
    plugin.load()()  # as Kedro's commands do
bootstrap_project(Path.cwd())
logging.disable()
job = json.loads(sys.argv[1])

def run(name, keep):
    with KedroSession.create() as session:
        for plugin in list(session._hook_manager.get_plugins()):
            module = type(plugin).__module__
            ours = module.startswith(job["package"])
            if ours and not keep(type(plugin).__name__):
                session._hook_manager.unregister(plugin)
        started = time.perf_counter()
        session.run(pipeline_names=[name])
        return time.perf_counter() - started
"""

NO_LINEAGE = "HOOKS = tuple(one for one in HOOKS if 'Lineage' not in repr(one))\n"

WARM_RUNS = """
ways = {
    "with lineage": lambda hook: True,
    "without lineage": lambda hook: hook != "LineageHooks",
    "kedro-mlflow alone": lambda hook: hook == "TrackingHooks",
}
seconds = {way: [] for way in ways}
for _ in range(job["rounds"] + 1):
    for way, keep in ways.items():
        seconds[way].append(run("training", keep))
print(json.dumps({way: values[1:] for way, values in seconds.items()}))
"""

LARGE_RUNS = """
import numpy as np
import pandas as pd
from kedro.pipeline import Pipeline, node

def make(raw):
    return pd.DataFrame(np.random.default_rng(0).random((625_000, 10)))

def use(large):
    return large.head(10)

pipelines.set_requested(["data_processing"])  # or the session would load its own
pipelines["data_processing"] = Pipeline([
    node(make, "raw_data", "large"), node(use, "large", "small"),
])
for _ in range(job["runs"]):
    run("data_processing", lambda hook: True)
assert Path("data/02_intermediate/large.pkl").stat().st_size > 50e6
"""


def main() -> int:
    """Measure, print one line a figure, and return 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder))
        figures = {
            **whole_process(project, options.rounds),
            **warm(project, options.rounds),
            **growth(project, options.runs),
        }
    for name, (value, bound) in figures.items():
        print(f"{name}: {value:.4f} (bound: {bound})")
    return int(any(value > bound for value, bound in figures.values()))


def make_project(folder: Path) -> Project:
    """Return a rendered, installed and committed project whose data is processed."""
    template = folder / "template"
    template.mkdir()
    path = support.render_template(
        support.snapshot_template(template), folder / "project"
    )
    project = support.install_locked(path)
    support.commit_all(path, "Start")
    project.run("kedro", "run", timeout=600)
    return project


def whole_process(project: Project, rounds: int) -> dict[str, tuple[float, float]]:
    """Time `kedro run --pipelines training` in turn: all of it, less, nothing of ours.

    With kedro-mlflow alone the project has none of the template's hooks and commands.
    """
    source = project.path / "src" / project.package
    settings, commands = source / "settings.py", source / "cli.py"
    whole = settings.read_text()
    ways = {
        "with lineage": whole,
        "without lineage": f"{whole}\n{NO_LINEAGE}",
        "kedro-mlflow alone": f"{whole}\nHOOKS = ()\n",
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, text in ways.items():
            settings.write_text(text)
            if way == "kedro-mlflow alone":
                commands.rename(commands.with_suffix(".off"))
            started = time.perf_counter()
            project.run("kedro", "run", "--pipelines", "training", timeout=600)
            seconds[way].append(time.perf_counter() - started)
            if way == "kedro-mlflow alone":
                commands.with_suffix(".off").rename(commands)
    settings.write_text(whole)
    return ratios("whole process", seconds, WHOLE_PROCESS)


def warm(project: Project, rounds: int) -> dict[str, tuple[float, float]]:
    """Time training within one process, with and without the hook, in turn."""
    job = {"package": project.package, "rounds": rounds}
    seconds = json.loads(in_process(project, WARM_RUNS, job).splitlines()[-1])
    return ratios("warm", seconds, WARM)


def ratios(
    name: str, seconds: dict[str, list[float]], bound: float
) -> dict[str, tuple[float, float]]:
    """Print the medians, and compare what has lineage with what has not."""
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    shown = {way: round(median, 2) for way, median in medians.items()}
    print(f"{name}, seconds: {shown}", flush=True)
    return {
        f"{name}, with lineage / {way}": (medians["with lineage"] / median, bound)
        for way, median in medians.items()
        if way != "with lineage"
    }


def growth(project: Project, runs: int) -> dict[str, tuple[float, float]]:
    """Compare what runs with a 50 MB data set store by default and in full."""
    stored = {}
    catalog = project.path / "conf/base/catalog.yml"
    catalog.write_text(
        catalog.read_text()
        + "\nlarge:\n  type: pickle.PickleDataset\n"
        + "  filepath: data/02_intermediate/large.pkl\n"
    )
    rules = project.path / "conf/base/artifacts.yml"
    default = rules.read_text()
    full = default.replace(
        "  rules:\n", "  rules:\n    - {data: large, log: full}\n", 1
    )
    assert full != default
    for way, text in (("default", default), ("everything", full)):
        rules.write_text(text)
        before = size(project.path)
        job = {"package": project.package, "runs": runs}
        in_process(project, LARGE_RUNS, job)
        stored[way] = size(project.path) - before
        print(f"growth, {way}: {stored[way] / 1e6:.1f} MB in {runs} runs")
    return {
        "growth, default / everything": (
            stored["default"] / stored["everything"],
            GROWTH,
        )
    }


def in_process(project: Project, script: str, job: dict[str, object]) -> str:
    """Run pipelines within one process; return what the script printed last."""
    return support.run(
        *(project.python, "-c", IN_PROCESS + script, json.dumps(job)),
        cwd=project.path,
        env=project.environment(),
        timeout=3600,
    ).stdout.strip()


def size(folder: Path) -> int:
    """Return the bytes of a project's database and artifacts."""
    files = [*folder.glob("mlflow.db*"), *folder.glob("mlartifacts/**/*")]
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
