"""Run a version again, in its own code, packages and data, and compare."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ..errors import BlueprintError
from ..masking import MASK
from ..packaging import distribution
from .provenance import call, git
from .store import Record, outside_inputs, read_records
from .trace import Trail, state_of


@dataclass
class Changes:
    """What is deliberately not as it was recorded, to see whether it matters."""

    commit: str | None
    packages: dict[str, str]
    parameters: Record


def reproduce(
    trail: Trail, changes: Changes, ask: Callable[[str], str]
) -> dict[str, tuple[Any, Any]]:
    """Return, item by item, what was recorded and what came out again.

    Raises:
        BlueprintError: if code, data or packages can't be had as they were.
    """
    if lost := [sentence for sentence, lost in trail.breaks.items() if lost]:
        raise BlueprintError(" ".join(lost))
    for record in itertools.chain(*trail.records.values()):
        for key, value in parameters_of(record).items():
            if MASK in str(value) and key not in changes.parameters:
                changes.parameters[key] = ask(key)
    *_, recorded = trail.records.values()
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        root, commit = Path(folder, "code"), recorded[0]["code"]["commit"]
        call(trail.project, "git", "worktree", "add", "--detach", str(root), commit)
        try:
            again = Again(trail.project, changes, root)
            for records in trail.records.values():
                again.run(records)
            run = again.latest()
            after = summary(read_records(run), run.data.metrics)
        finally:
            call(trail.project, "git", "worktree", "remove", "--force", str(root))
    before = summary(recorded, trail.tree["run"]["metrics"])
    return {key: (before.get(key), after.get(key)) for key in before | after}


class Again:
    """Runs what was recorded in a checked-out project, against a store of its own."""

    def __init__(self, project: Path, changes: Changes, root: Path) -> None:
        self.project, self.changes, self.root = project, changes, root
        self.below = git(project, "rev-parse", "--show-prefix").strip() or "."
        self.tree, self.conf = root / self.below, root.with_name("conf")
        self.requirements = root.with_name("requirements.txt")
        self.store = f"sqlite:///{root.with_name('mlflow.db').as_posix()}"
        # Kedro names today's code in PYTHONPATH, for processes that it starts.
        ours = ("MLFLOW_", "PYTHONPATH")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self.env["MLFLOW_TRACKING_URI"] = self.env["MLFLOW_REGISTRY_URI"] = self.store
        self.moved: Record = {}

    def run(self, records: list[Record]) -> None:
        """Run the commands of one run."""
        self.check_out(records[0]["code"])
        outside = {
            name: facts
            for name, facts in outside_inputs(records).items()
            if "files" in facts and "writer" not in facts
        }
        self.link_data(outside)
        versions = records[0]["packages"] | self.changes.packages
        versions.pop(distribution().lower().replace("_", "-"), None)
        pins = [f"{name}=={version}" for name, version in versions.items()]
        self.requirements.write_text("\n".join(pins))
        self.env["UV_PYTHON"] = records[0]["python"]
        if len(records) > 1:
            self.env["MLFLOW_RUN_ID"] = self.kedro("model", "start-run").strip()
        for record in records:
            if record["nodes"]:
                self.kedro("run", *self.configure(record, outside))
        if self.env.pop("MLFLOW_RUN_ID", None):
            self.kedro("model", "end-run", self.latest().info.run_id)

    def kedro(self, *arguments: str) -> str:
        """Call Kedro in an environment of the recorded packages."""
        pins = ("--with-requirements", str(self.requirements), "--with-editable", ".")
        uv = ("uv", "run", "--quiet", "--no-project", "--isolated", *pins)
        return call(self.tree, *uv, "kedro", *arguments, env=self.env)

    def check_out(self, code: Record) -> None:
        """Bring the recorded code back, with its patch."""
        commit = self.changes.commit or code["commit"]
        call(self.root, "git", "switch", "--force", "--detach", commit)
        if "patch" in code and not self.changes.commit:
            below = f"--directory={self.below}"
            call(self.root, "git", "apply", below, "-", input=code["patch"])

    def link_data(self, outside: Record) -> None:
        """Let the project find data that git ignores at its original place."""
        for facts in outside.values():
            if state_of(facts, self.tree) != "unchanged":
                here = self.tree / facts["location"]
                here.parent.mkdir(parents=True, exist_ok=True)
                here.unlink(missing_ok=True)
                here.symlink_to(self.project / facts["location"])

    def configure(self, record: Record, outside: Record) -> list[str]:
        """Write the recorded configuration on top of the base one; return options."""
        for name in {name for node in record["nodes"] for name in node["outputs"]}:
            if "://" in record["datasets"].get(name, {}).get("location", ""):
                self.moved[name] = {  # or the original would be overwritten
                    "type": "pickle.PickleDataset",
                    "filepath": f"data/reproduced/{name}.pkl",
                    "backend": "cloudpickle",
                }
        shutil.rmtree(self.conf, ignore_errors=True)
        shutil.copytree(self.tree / "conf", self.conf)
        own = self.conf / record["environment"]
        own.mkdir(exist_ok=True)
        server = {"mlflow_tracking_uri": self.store, "mlflow_registry_uri": self.store}
        for kind, content in {
            "parameters": record["parameters"],
            "catalog": record["catalog"] | self.moved,
            "mlflow": {"server": server},
        }.items():
            for path in own.glob(f"{kind}*"):
                path.unlink()
            (own / f"{kind}.yml").write_text(yaml.safe_dump(content, sort_keys=False))
        for path in (self.project / "conf" / own.name).glob("credentials*"):
            shutil.copy(path, own)
        given = OmegaConf.create(record["runtime_parameters"])
        for key, value in self.changes.parameters.items():
            OmegaConf.update(given, key, value)
        versions = [
            f"{name}:{facts['version']}"
            for name, facts in outside.items()
            if "version" in facts
        ]
        options = {
            "pipelines": ",".join(record["pipelines"]),
            "node_names": ",".join(node["name"] for node in record["nodes"]),
            "params": OmegaConf.to_container(given),
            "load_versions": ",".join(versions),
        }
        config = self.conf / "run.yml"
        config.write_text(yaml.safe_dump({"run": options}))
        paths = ("--conf-source", str(self.conf), "--config", str(config))
        return ["--env", own.name, *paths]

    def latest(self) -> Any:
        """Return the run that was started last."""
        from mlflow import MlflowClient

        client = MlflowClient(self.store)
        experiments = [found.experiment_id for found in client.search_experiments()]
        order = ["attributes.start_time DESC"]
        return client.search_runs(experiments, order_by=order, max_results=1)[0]


def summary(records: list[Record], metrics: Record) -> Record:
    """Return what a run used and produced, as one flat dictionary."""
    items: Record = {}
    for record in records:
        code = record["code"]
        items |= {"code: commit": code["commit"], "code: patch": code.get("patch", "")}
        items |= {"python": record["python"]}
        items |= {f"package {key}": value for key, value in record["packages"].items()}
        items |= {f"parameter {k}": value for k, value in parameters_of(record).items()}
        for name, facts in record["datasets"].items():
            items[f"data {name}"] = facts.get("content") or facts.get("digest")
    return items | {f"metric {name}": value for name, value in metrics.items()}


def parameters_of(record: Record) -> Record:
    """Return a command's parameters with dotted keys."""
    return flat(record["parameters"]) | flat(record["runtime_parameters"])


def flat(data: Record, prefix: str = "") -> Record:
    """Return nested dictionaries as one, with dotted keys."""
    found: Record = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
