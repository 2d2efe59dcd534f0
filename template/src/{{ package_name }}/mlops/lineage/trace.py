"""From a model back to its raw data and code, and forward to where it serves."""

import re
from pathlib import Path
from typing import Any

from ..errors import BlueprintError
from ..registry import no_alias, version_of
from .fingerprints import measure
from .provenance import git
from .store import Record, outside_inputs, read_records


class Trail:
    """What led to a model, as one tree, and where the trail breaks.

    ``breaks`` holds a sentence for each such place, and whether it keeps the run from
    being reproduced; ``records`` those of each run, the earliest run first.
    """

    def __init__(self, name: str, subject: str, project: Path) -> None:
        from mlflow import MlflowClient

        self.client, self.project = MlflowClient(), project
        self.breaks: dict[str, bool] = {}
        self.records: dict[str, list[Record]] = {}
        run_id = self.find_run(name, subject)
        self.tree = {"versions": self.versions(run_id), "run": self.follow(run_id)}

    def find_run(self, name: str, subject: str) -> str:
        """Return the run behind a URI, alias, version number or run id."""
        if subject.startswith("models:/m-"):
            return str(self.client.get_logged_model(subject[8:]).source_run_id)
        if subject.startswith("models:/"):
            name, _, subject = re.split("([/@])", subject[8:], maxsplit=1)
        if run := re.fullmatch("(?:runs:/)?([0-9a-f]{32})(?:/.*)?", subject):
            return run[1]
        version = subject if subject.isdigit() else version_of(name, subject)
        if version is None:
            raise BlueprintError(no_alias(name, subject))
        found = self.client.get_model_version(name, version)
        return found.run_id or self.find_run(name, str(found.source))

    def versions(self, run_id: str) -> dict[str, list[str]]:
        """Return the aliases of each version that a run registered."""
        found = self.client.search_model_versions(f"run_id = '{run_id}'")
        versions = [self.client.get_model_version(v.name, v.version) for v in found]
        return {f"{v.name} version {v.version}": list(v.aliases) for v in versions}

    def follow(self, run_id: str) -> Record:
        """Return what a run recorded, with the runs that wrote what it read."""
        run = self.client.get_run(run_id)
        records = read_records(run)
        if pruned := run.data.tags.get("blueprint.pruned"):
            self.breaks[f"Run {run_id} was pruned: {pruned}"] = False
        commands = {}
        for record in records:
            self.look_at_code(run_id, record["code"])
            inputs = {name for node in record["nodes"] for name in node["inputs"]}
            known = record["parameters"] | record["runtime_parameters"]
            commands[f"{record['started']} {record['command']}"] = {
                "commit": record["code"]["commit"],
                "dirty": record["code"]["dirty"],
                "seed": record["seed"],
                "parameters": {
                    key: value
                    for key, value in known.items()
                    if any(name.startswith(f"params:{key}") for name in inputs)
                },
            }
        data = {
            name: self.follow_data(name, facts, records[0]["code"]["commit"])
            for name, facts in outside_inputs(records).items()
        }
        self.records[run_id] = records
        return {
            "run_id": run_id,
            "status": run.info.status,
            "commands": commands,
            "inputs": data,
            "metrics": run.data.metrics,
        }

    def look_at_code(self, run_id: str, code: Record) -> None:
        """Note if the code that ran can't be brought back from git."""
        run, commit = f"Run {run_id[:8]}", f"{code['commit']}^0"
        if "lost" in code:
            self.breaks[f"{run} can't get its code back: {code['lost']}."] = True
        elif not git(self.project, "rev-parse", "--verify", commit):
            self.breaks[f"{run} ran {code['commit']}, which git does not have."] = True
        elif code["dirty"]:
            self.breaks[f"{run} ran on a dirty tree, whose patch is kept."] = False

    def follow_data(self, name: str, facts: Record, commit: str) -> Record:
        """Return what is known of an input, and the run that wrote it."""
        from mlflow.exceptions import MlflowException

        state, place = state_of(facts, self.project), facts["location"]
        keys = ("location", "digest", "rows", "version")
        found = {"state": state} | {key: facts[key] for key in keys if key in facts}
        writer = facts.get("writer")
        if writer in self.records:
            found["written_by"] = {"run_id": writer}
        elif writer:
            try:
                found["written_by"] = self.follow(writer)
            except (BlueprintError, MlflowException) as error:
                self.breaks[f"{name} can't be followed further: {error}"] = True
        if state not in ("unchanged", "not a file"):
            why = f"{name} ({place}) {state}: the run read {facts.get('digest')}."
            self.breaks[why] = not writer
        elif not (writer or "://" in place or "version" in facts):
            committed = git(self.project, "rev-parse", f"{commit}:./{place}")
            if not committed or committed != git(self.project, "hash-object", place):
                self.breaks[
                    f"{name} ({place}) is an unversioned file: nothing brings its "
                    "content back once it is overwritten."
                ] = False
        return found


def state_of(facts: Record, project: Path) -> str:
    """Tell whether a data set's storage still holds what the run saw."""
    import fsspec

    if "files" not in facts:
        return "not a file"
    place, digest = facts["location"], facts["digest"]
    most = facts["bytes"] if digest.startswith("sha256") else 0
    try:
        uri = place if "://" in place else str(project / place)
        system, path = fsspec.core.url_to_fs(uri)
        now = measure(system, path, most)
    except (OSError, ImportError, ValueError) as error:
        return f"can't be looked at from here ({error})"
    if not now:
        return "is missing"
    return "unchanged" if now["digest"] == digest else "changed on disk since"


def show(trail: Trail) -> None:
    """Print a trail as a tree for people."""
    from rich.console import Console
    from rich.tree import Tree

    tree = Tree("model")
    grow(tree, trail.tree)
    # As wide as it takes: a digest is copied whole, and a terminal wraps by itself.
    console = Console(markup=False, highlight=False, width=10_000)
    console.print(tree)
    verdict = "The trail breaks:" if trail.breaks else "The trail is whole."
    console.print("\n- ".join([verdict, *trail.breaks]), soft_wrap=True)


def grow(branch: Any, data: Record) -> None:
    """Add nested dictionaries to a tree."""
    for key, value in data.items():
        if isinstance(value, dict) and value:
            grow(branch.add(key), value)
        else:
            branch.add(f"{key}: {value}")
