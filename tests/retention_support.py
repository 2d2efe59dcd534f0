"""Stores to prune: built with MLflow's client alone, so that a test takes seconds."""

import importlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

DAY = 86_400_000
PAST = "2020-01-01T00:00:00+00:00"
EXPERIMENT, MODEL = "example", "example"


def load_retention(project: Path, package: str, folder: Path) -> SimpleNamespace:
    """Import the retention modules of a rendered project, which is not installed.

    An empty database is made once: MLflow needs seconds for that.
    """
    if str(project / "src") not in sys.path:
        sys.path.insert(0, str(project / "src"))
    name = f"{package}.mlops"
    modules = ("schema", "rules", "inventory", "storage", "plan", "apply", "show")
    found = {m: importlib.import_module(f"{name}.retention.{m}") for m in modules}
    found["artifact_rules"] = importlib.import_module(f"{name}.artifact_rules")
    found["errors"] = importlib.import_module(f"{name}.errors")
    found["project"] = project
    mlflow = importlib.import_module("mlflow")
    found["empty_database"] = folder / "empty.db"
    if not found["empty_database"].exists():
        mlflow.MlflowClient(f"sqlite:///{folder / 'empty.db'}").search_experiments()
    return SimpleNamespace(**found)


class Store:
    """A tracking store with one experiment, and rules for it."""

    def __init__(
        self, retention: SimpleNamespace, folder: Path, uri: str = "", root: str = ""
    ) -> None:
        import mlflow

        self.retention, self.folder = retention, folder
        self.uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
        if not uri and not (folder / "mlflow.db").exists():
            shutil.copy(retention.empty_database, folder / "mlflow.db")
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        self.client = mlflow.MlflowClient()
        if not uri and not root:
            root = (folder / "artifacts").as_uri()
        self.name = f"{EXPERIMENT} {folder.name}" if uri else EXPERIMENT
        found = self.client.get_experiment_by_name(self.name)
        self.experiment = (
            found.experiment_id
            if found
            else self.client.create_experiment(self.name, root or None)
        )
        self.rules_file = folder / "artifacts.yml"
        self.journal = folder / "journal.jsonl"

    def run(
        self,
        days: float = 100,
        files: dict[str, int] | None = None,
        status: str = "FINISHED",
        parent: str = "",
        **metrics: float,
    ) -> str:
        """Add a run that started so many days ago, and files of so many bytes."""
        tags = {"mlflow.parentRunId": parent} if parent else {}
        start = int(time.time() * 1000 - days * DAY)
        run = self.client.create_run(self.experiment, start_time=start, tags=tags)
        for name, value in metrics.items():
            self.client.log_metric(run.info.run_id, name, value)
        self.write(run.info.artifact_uri, {"out.bin": 1000} if files is None else files)
        if status != "RUNNING":
            self.client.set_terminated(run.info.run_id, status)
        return run.info.run_id

    def model(self, run: str = "", files: dict[str, int] | None = None) -> str:
        """Add a logged model, of a run or of none."""
        model = self.client.create_logged_model(
            self.experiment, source_run_id=run or None
        )
        files = {"MLmodel": 10, "model.bin": 500} if files is None else files
        self.write(model.artifact_location, files)
        self.client.finalize_logged_model(model.model_id, "READY")
        return model.model_id

    def version(self, model: str, alias: str = "", name: str = MODEL) -> str:
        """Register a logged model; return its version."""
        if not self.client.search_registered_models(f"name='{name}'"):
            self.client.create_registered_model(name)
        run = self.client.get_logged_model(model).source_run_id
        version = self.client.create_model_version(
            name, f"models:/{model}", run, model_id=model
        )
        if alias:
            self.client.set_registered_model_alias(name, alias, version.version)
        return str(version.version)

    def write(self, uri: str, files: dict[str, int]) -> None:
        """Write artifacts where MLflow would: directly if the place is local."""
        from mlflow.store.artifact.artifact_repository_registry import (
            get_artifact_repository,
        )

        local = Path(uri.removeprefix("file://"))
        target = local if uri.startswith("file://") else self.folder / "upload"
        for name, size in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(b"x" * size)
            if target != local:
                folder = name.rpartition("/")[0] or None
                repository = get_artifact_repository(uri)
                repository.log_artifact(str(target / name), folder)

    def rules(self, **blocks: Any) -> Path:
        """Write the rules for the experiment; keep, prune, versions, grace_days."""
        rendered = self.retention.project / "conf/base/artifacts.yml"
        rules = {"name": self.name, "keep": blocks.pop("keep", {})}
        rules["prune"] = blocks.pop("prune", {"all_after_days": 30})
        content = {
            "logging": yaml.safe_load(rendered.read_text("utf-8"))["logging"],
            "retention": {"grace_days": 0, "experiments": [rules], **blocks},
        }
        self.rules_file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return self.rules_file

    def plan(self) -> Any:
        """Return the plan that the rules mean now."""
        return self.retention.plan.make_plan(self.rules_file)

    def apply(self, plan: Any) -> list[dict[str, Any]]:
        """Apply a plan."""
        return self.retention.apply.apply(plan, self.rules_file, self.journal)

    def let_grace_pass(self) -> None:
        """Move every mark into the past."""
        rules = self.retention.artifact_rules.read_artifact_rules(self.rules_file)
        inventory = self.retention.inventory.Inventory(rules.retention)
        for item in (inventory.read() | inventory.versions()).values():
            if mark := item.tags.get("blueprint.prune"):
                past = f"{PAST} {mark.partition(' ')[2]}"
                inventory.tag(item, "blueprint.prune", past)

    def tags(self, run: str) -> dict[str, str]:
        """Return a run's tags with the blueprint's prefix."""
        tags = self.client.get_run(run).data.tags
        return {k: v for k, v in tags.items() if k.startswith("blueprint.")}

    def has_files(self, thing: str) -> bool:
        """Tell whether a run's or model's folder exists in a local store."""
        kind = "models/" if thing.startswith("m-") else ""
        return (self.folder / "artifacts" / f"{kind}{thing}").exists()

    def read_journal(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines."""
        for line in self.journal.read_text("utf-8").splitlines():
            yield json.loads(line)


def actions(plan: Any) -> dict[str, str]:
    """Return what a plan does to each thing that it does not keep."""
    return {i.id: i.action for i in plan.items if i.action != "keep"}


def did(done: Iterable[dict[str, Any]], thing: str) -> str:
    """Return what an application did to one thing."""
    return next(line["did"] for line in done if line["id"] == thing)
