"""What each command costs: the generated project beside a bare kedro-mlflow one."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .journey import BenchmarkError, clean_environment, run

BARE = Path(__file__).with_name("bare")
PACKAGE = "mortgage_approval"
COPY = "uv tool run copier copy --defaults {template} {place}"
NEW = "uv tool run kedro new --name {name} --tools data --example no --telemetry no"
HELP = ".venv/bin/kedro --help"
TRAIN = ".venv/bin/kedro run --pipelines training"
# What the last run of training logged, by name.
LOGGED = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
(run,) = client.search_runs(["1"], "attributes.run_name = 'training'", max_results=1)
model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
files = mlflow.artifacts.download_artifacts(model.artifact_location + "/MLmodel")
signature = mlflow.models.Model.load(files).signature.to_dict()
print(json.dumps({
    "metrics": sorted(run.data.metrics), "parameters": run.data.params,
    "data sets": sorted(i.dataset.name for i in run.inputs.dataset_inputs),
    "signature": signature,
}))
"""


def make_bare(project: Path) -> None:
    """Turn a generated project into a bare one that logs the same things.

    Its pipelines and parameters stay. The template's commands, hooks, registry and log
    configuration go; a team's own hooks take their place.
    """
    source, base = project / "src" / PACKAGE, project / "conf" / "base"
    shutil.rmtree(source / "mlops")
    shutil.rmtree(source / "pipelines" / "batch_inference")
    for file in (source / "cli.py", base / "gates.yml", project / "conf/logging.yml"):
        file.unlink()
    shutil.copy(BARE / "settings.py", source)
    shutil.copy(BARE / "hooks.py", source)
    shutil.copy(BARE / "mlflow.yml", base)
    replace(base / "catalog.yml", r"\n# batch_inference -.*", "")
    replace(project / "pyproject.toml", r"\n\[project\.entry-points.*?\n(?=\n\[)", "")


def replace(file: Path, pattern: str, text: str) -> None:
    """Replace what must be there, once, or say what the template has changed."""
    changed, found = re.subn(pattern, text, file.read_text("utf-8"), flags=re.DOTALL)
    if found != 1:
        raise BenchmarkError(f"{file} holds {pattern!r} {found} times, not once.")
    file.write_text(changed, "utf-8")


def prepare(project: Path) -> None:
    """Install a project and run it once, so that everything is compiled and cached."""
    env = clean_environment()
    run(["uv", "sync", "--quiet"], project, env)
    run([".venv/bin/kedro", "run", "--pipelines", "data_processing"], project, env)
    run(TRAIN.split(), project, env)


def logged(project: Path) -> dict[str, Any]:
    """Return what the last training run logged."""
    output = run([".venv/bin/python", "-c", LOGGED], project, clean_environment())
    return json.loads(output.splitlines()[-1])


def measure(
    rounds: int, folder: Path, template: Path, say: Callable[[str], None]
) -> dict[str, list[tuple[float, float]]]:
    """Return seconds of the template's command and of the other, for each round."""
    env = clean_environment()
    ours, bare = folder / "ours", folder / "bare"
    for project in (ours, bare):
        run(COPY.format(template=template, place=project).split(), folder, env)
    make_bare(bare)
    for project in (ours, bare):
        say(f"start-up: install and run {project.name} once")
        prepare(project)
    mine, others = logged(ours), logged(bare)
    # Lineage, a card and what an evaluation needs come on top.
    for what in ("metrics", "parameters", "signature"):
        if mine[what] != others[what]:
            raise BenchmarkError(f"Not the same {what} are logged:\n{mine}\n{others}")
    if missing := set(others["data sets"]) - set(mine["data sets"]):
        raise BenchmarkError(f"The template logs no data set {sorted(missing)}.")
    done: dict[str, list[tuple[float, float]]] = {}
    for number in range(1, rounds + 1):
        pairs = {
            "render, beside `kedro new`": [
                (COPY.format(template=template, place=folder / f"a{number}"), folder),
                (NEW.format(name=f"b{number}"), folder),
            ],
            "`kedro --help`": [(HELP, ours), (HELP, bare)],
            "`kedro run --pipelines training`": [(TRAIN, ours), (TRAIN, bare)],
        }
        for what, pair in pairs.items():
            seconds = [0.0, 0.0]
            for place in (0, 1) if number % 2 else (1, 0):
                command, project = pair[place]
                started = time.perf_counter()
                run(command.split(), project, env)
                seconds[place] = time.perf_counter() - started
            done.setdefault(what, []).append((seconds[0], seconds[1]))
            say(f"{what}, round {number}: {seconds[0]:.1f} and {seconds[1]:.1f} s")
    return done
