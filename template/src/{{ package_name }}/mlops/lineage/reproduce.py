"""Run a version again, in its own code, packages and data, and compare."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ..errors import BlueprintError
from ..masking import MASK
from .provenance import git
from .store import outside_inputs, read_records
from .trace import code_breaks, find_run, state_of

PACKAGE = __name__.partition(".")[0]
Record = dict[str, Any]


class Changes:
    """What is deliberately not as it was recorded, to see whether it matters."""

    def __init__(
        self,
        commit: str | None = None,
        packages: tuple[str, ...] = (),
        parameters: dict[str, Any] | None = None,
    ) -> None:
        self.commit, self.parameters = commit, parameters or {}
        self.packages = dict(package.split("==", 1) for package in packages)


def reproduce(
    name: str,
    subject: str,
    project: Path,
    changes: Changes,
    ask: Callable[[str], str],
    say: Callable[[str], None],
) -> list[Record]:
    """Return, item by item, what was recorded and what came out again.

    Raises:
        BlueprintError: if code, data or packages can't be had as they were.
    """
    run_id = find_run(name, subject)
    runs = {found: read_records(found) for found in upstream(run_id)}
    for found, records in runs.items():
        if changes.commit is None:
            require_code(found, records, project)
    require_data(runs, project)
    answers = {key: ask(key) for key in masked_keys(runs, changes.parameters)}
    changes.parameters |= answers
    with worktree(project, runs[run_id][0]["code"]["commit"]) as (root, tree):
        link_data(runs, project, tree)
        for found, records in runs.items():
            say(
                f"Running {', '.join(records[0]['pipelines'])} of run {found[:8]} again"
            )
            again = run_again(root, tree, project, records, changes)
        return compare(run_id, runs[run_id], again, tree, root)


def upstream(run_id: str) -> list[str]:
    """Return the run after those that wrote what it read, the earliest first."""
    writers = {
        facts["writer"]: None
        for facts in outside_inputs(read_records(run_id)).values()
        if "writer" in facts
    }
    earlier = [found for writer in writers for found in upstream(writer)]
    return list(dict.fromkeys([*earlier, run_id]))


def require_code(run_id: str, records: list[Record], project: Path) -> None:
    """Refuse a run whose commit or patch is not to be had."""
    code = records[0]["code"]
    lost = code["dirty"] is not False and "patch" not in code
    if lost or code.get("patch_masked"):
        raise BlueprintError(" ".join(code_breaks(run_id, code)))
    if not git(project, "rev-parse", "--verify", f"{code['commit']}^{{commit}}"):
        raise BlueprintError(
            f"Commit {code['commit']} of run {run_id} is not in this repository: fetch "
            "the branch or tag that holds it."
        )


def require_data(runs: dict[str, list[Record]], project: Path) -> None:
    """Refuse if something that no run of the chain writes is not what was read."""
    for run_id, name, facts in outside_data(runs):
        if (state := state_of(facts, project)) not in ("unchanged", "not a file"):
            raise BlueprintError(
                f"{name} ({facts['location']}) {state}: run {run_id} read "
                f"{facts['digest']}; bring that content back to reproduce it."
            )


def outside_data(
    runs: dict[str, list[Record]],
) -> Iterator[tuple[str, str, Record]]:
    """Yield the data sets that come from outside a chain of runs."""
    for run_id, records in runs.items():
        for name, facts in outside_inputs(records).items():
            if facts.get("writer") not in runs:
                yield run_id, name, facts


def masked_keys(runs: dict[str, list[Record]], known: dict[str, Any]) -> list[str]:
    """Return the masked parameters that nobody has given yet."""
    flat: dict[str, Any] = {}
    for records in runs.values():
        for record in records:
            flat |= flatten(record["parameters"]) | flatten(
                record["runtime_parameters"]
            )
    return [k for k, v in flat.items() if MASK in str(v) and k not in known]


def flatten(data: Record, prefix: str = "") -> Record:
    """Return nested dictionaries as one, with dotted keys."""
    flat: Record = {}
    for key, value in data.items():
        nested = isinstance(value, dict) and value
        flat |= (
            flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
        )
    return flat


@contextmanager
def worktree(project: Path, commit: str) -> Iterator[tuple[Path, Path]]:
    """Check out a commit beside the project; give its root and the project in it."""
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        root = Path(folder, "code")
        call(project, "git", "worktree", "add", "--detach", str(root), commit)
        try:
            yield root, root / git(project, "rev-parse", "--show-prefix").strip()
        finally:
            call(project, "git", "worktree", "remove", "--force", str(root))


def call(folder: Path, *command: str, **options: Any) -> str:
    """Run a command; refuse with the last line of what it said if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 (git, uv and the project's Python)
            command,
            cwd=folder,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
            **options,
        )
    except FileNotFoundError as error:
        raise BlueprintError(
            f"{command[0]} is not installed, or not on PATH."
        ) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise BlueprintError(f"`{' '.join(command[:4])}` failed: {' '.join(said[-4:])}")
    return done.stdout


def link_data(runs: dict[str, list[Record]], project: Path, tree: Path) -> None:
    """Let the checked-out project find data that git ignores where it was."""
    for _, _, facts in outside_data(runs):
        location = facts["location"] or ""
        if "files" in facts and "://" not in location:
            here = tree / location
            if state_of(facts, tree) != "unchanged":
                here.parent.mkdir(parents=True, exist_ok=True)
                here.unlink(missing_ok=True)
                here.symlink_to(project / location)


def run_again(
    root: Path, tree: Path, project: Path, records: list[Record], changes: Changes
) -> Record:
    """Run what was recorded, against a store of its own; return the new run."""
    record = records[0]
    commit = changes.commit or record["code"]["commit"]
    call(root, "git", "checkout", "--force", "--detach", commit)
    if changes.commit is None and "patch" in record["code"]:
        prefix = tree.relative_to(root).as_posix()
        patch = record["code"]["patch"]
        call(root, "git", "apply", f"--directory={prefix}", "-", input=patch)
    python = build_environment(root.parent, tree, record, changes)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    store = f"sqlite:///{(tree / 'mlflow.db').as_posix()}"
    environment |= {"MLFLOW_TRACKING_URI": store, "MLFLOW_REGISTRY_URI": store}
    kedro = (str(python), "-m", "kedro")
    if len(records) > 1:
        opened = call(tree, *kedro, "model", "start-run", env=environment)
        environment["MLFLOW_RUN_ID"] = opened.strip()
    for task in records:
        if task["nodes"]:
            conf, run = configure(root.parent, tree, project, task, store, changes)
            options = ["--env", task["environment"], "--conf-source", str(conf)]
            call(tree, *kedro, "run", *options, "--config", str(run), env=environment)
    if len(records) > 1:
        call(tree, *kedro, "model", "end-run", env=environment)
    return {"store": store, "python": python, "environment": environment}


def build_environment(
    folder: Path, tree: Path, record: Record, changes: Changes
) -> Path:
    """Install the recorded versions with uv; return the environment's Python."""
    wanted = {**record["packages"], **changes.packages}
    wanted.pop(PACKAGE.replace("_", "-"), None)
    venv = folder / "venv"
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    lines = "\n".join(f"{name}=={version}" for name, version in wanted.items())
    requirements = folder / "requirements.txt"
    requirements.write_text(lines)
    call(folder, "uv", "venv", "--clear", "--python", record["python"], str(venv))
    install = ("uv", "pip", "install", "--python", str(python), "--no-deps")
    call(folder, *install, "-r", str(requirements), "-e", str(tree))
    return python


def configure(
    folder: Path, tree: Path, project: Path, task: Record, store: str, changes: Changes
) -> tuple[Path, Path]:
    """Write the recorded configuration on top of the base environment's."""
    conf = folder / "conf"
    shutil.rmtree(conf, ignore_errors=True)
    shutil.copytree(tree / "conf", conf)
    own = conf / task["environment"]
    own.mkdir(exist_ok=True)
    for kind in ("parameters", "catalog", "mlflow"):
        for path in own.glob(f"{kind}*"):
            path.unlink()
    for path in (project / "conf" / task["environment"]).glob("credentials*"):
        shutil.copy(path, own)
    given = changes.parameters
    parameters = unmask(task["parameters"], given)
    catalog = dict(task["catalog"])
    for node in task["nodes"]:
        for name in node["outputs"]:
            place = (task["datasets"].get(name) or {}).get("location") or ""
            if "://" in place or place.startswith("/"):  # not to be overwritten
                catalog[name] = {
                    "type": "pickle.PickleDataset",
                    "filepath": f"data/reproduced/{name}.pkl",
                    "backend": "cloudpickle",
                }
    server = {"server": {"mlflow_tracking_uri": store, "mlflow_registry_uri": store}}
    for kind, data in (
        ("parameters", parameters),
        ("catalog", catalog),
        ("mlflow", server),
    ):
        (own / f"{kind}.yml").write_text(yaml.safe_dump(data, sort_keys=False))
    versions = {
        name: facts["version"]
        for name, facts in outside_inputs([task]).items()
        if facts.get("version") and "files" in facts
    }
    run = {
        "pipelines": ",".join(task["pipelines"]),
        "node_names": ",".join(node["name"] for node in task["nodes"]),
        "params": unmask(task["runtime_parameters"], given),
        "load_versions": ",".join(f"{k}:{v}" for k, v in versions.items()),
    }
    path = folder / "run.yml"
    path.write_text(yaml.safe_dump({"run": run}))
    return conf, path


def unmask(data: Record, given: Record, prefix: str = "") -> Record:
    """Return nested parameters with the given values put where their keys are."""
    return {
        key: given[f"{prefix}{key}"]
        if f"{prefix}{key}" in given
        else unmask(value, given, f"{prefix}{key}.")
        if isinstance(value, dict)
        else value
        for key, value in data.items()
    }


def compare(
    run_id: str, recorded: list[Record], again: Record, tree: Path, root: Path
) -> list[Record]:
    """Return each item of code, packages, parameters, data, metrics and answers."""
    from mlflow import MlflowClient

    old, new = MlflowClient(), MlflowClient(again["store"])
    experiments = [experiment.experiment_id for experiment in new.search_experiments()]
    run = new.search_runs(experiments, order_by=["attributes.start_time DESC"])[0]
    before = summary(recorded, old.get_run(run_id))
    after = summary(read_records(run.info.run_id, new), run)
    for side, client, found in ((before, old, run_id), (after, new, run.info.run_id)):
        if model := logged_model(client, found):
            side["answers of the logged model"] = predict(client, model, again, root)
    return [
        {
            "item": item,
            "recorded": before.get(item),
            "again": after.get(item),
            "equal": before.get(item) == after.get(item),
        }
        for item in {**before, **after}
    ]


def summary(records: list[Record], run: Any) -> Record:
    """Return what a run used and produced, as one flat dictionary."""
    items: Record = {"code: commit": records[0]["code"]["commit"]}
    items["code: patch"] = records[0]["code"].get("patch", "")
    items["python"] = records[0]["python"]
    for record in records:
        parameters = record["parameters"] | record["runtime_parameters"]
        items |= {f"package {k}": v for k, v in record["packages"].items()}
        items |= {f"parameter {k}": v for k, v in flatten(parameters).items()}
        items |= {
            f"data {name}": facts.get("content") or facts.get("digest")
            for name, facts in record["datasets"].items()
        }
    return items | {f"metric {k}": v for k, v in run.data.metrics.items()}


def logged_model(client: Any, run_id: str) -> str | None:
    """Return the id of the model that a run logged."""
    outputs = client.get_run(run_id).outputs
    models = outputs.model_outputs if outputs else []
    return str(models[0].model_id) if models else None


def predict(client: Any, model_id: str, again: Record, root: Path) -> Any:
    """Return a model's answer to its example, in the environment it was logged in."""
    from mlflow.artifacts import download_artifacts

    model = client.get_logged_model(model_id)
    result = root.parent / "answer.json"
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        path = download_artifacts(artifact_uri=model.artifact_location, dst_path=folder)
        job = json.dumps([path, str(result)])
        script = str(Path(__file__).parents[1] / "bare_process.py")
        python = str(again["python"])
        call(root, python, "-P", script, PACKAGE, input=job, env=again["environment"])
    return json.loads(result.read_text())


def report(items: list[Record]) -> str:
    """Return what differs, and how many items are equal."""
    lines = [
        f"{entry['item']}: {str(entry['recorded'])[:200]} → {str(entry['again'])[:200]}"
        for entry in items
        if not entry["equal"]
    ]
    same = len(items) - len(lines)
    verdict = "Equal" if not lines else f"{len(lines)} items differ"
    return "\n".join([*lines, f"{verdict}: {same} of {len(items)} items are the same."])
