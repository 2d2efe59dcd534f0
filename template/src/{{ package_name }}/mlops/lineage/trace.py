"""From a model back to its raw data and code, and forward to where it serves."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BlueprintError
from ..registry import no_alias, version_of
from .fingerprints import measure_files
from .provenance import git
from .store import outside_inputs, read_records

Found = dict[str, Any]


def trace(name: str, subject: str, project: Path) -> Found:
    """Return the lineage of a version, an alias, a logged model or a run.

    Under ``breaks`` it holds a sentence for each place where the trail ends.
    """
    breaks: list[str] = []
    run_id = find_run(name, subject)
    run = trace_run(run_id, project, breaks)
    return {"versions": registered_versions(run_id), "run": run, "breaks": breaks}


def find_run(name: str, subject: str) -> str:
    """Return the run behind a URI, alias, version number or run id."""
    from mlflow import MlflowClient

    client = MlflowClient()
    if subject.startswith("models:/m-"):
        return str(client.get_logged_model(subject[8:]).source_run_id)
    if subject.startswith("models:/"):
        name, _, subject = re.split("([/@])", subject[8:], maxsplit=1)
    run = re.fullmatch("(?:runs:/)?([0-9a-f]{32})(?:/.*)?", subject)
    if run:
        return run[1]
    version = subject if subject.isdigit() else version_of(name, subject)
    if version is None:
        raise BlueprintError(no_alias(name, subject))
    found = client.get_model_version(name, version)
    return found.run_id or find_run(name, str(found.source))


def registered_versions(run_id: str) -> list[Found]:
    """Return the versions that a run registered, each with its aliases."""
    from mlflow import MlflowClient

    client = MlflowClient()
    versions = [
        client.get_model_version(found.name, found.version)
        for found in client.search_model_versions(f"run_id = '{run_id}'")
    ]
    return [
        {"name": v.name, "version": v.version, "aliases": list(v.aliases)}
        for v in versions
    ]


def trace_run(run_id: str, project: Path, breaks: list[str]) -> Found:
    """Return what a run recorded, with the runs that wrote what it read."""
    from mlflow import MlflowClient

    run, records = MlflowClient().get_run(run_id), read_records(run_id)
    if pruned := run.data.tags.get("blueprint.pruned"):
        breaks.append(f"Run {run_id} was pruned: {pruned}")
    for record in records:
        breaks += code_breaks(run_id, record["code"])
    inputs, writers = [], {}
    for name, facts in outside_inputs(records).items():
        facts["state"] = state_of(facts, project)
        if facts["state"] not in ("unchanged", "not a file"):
            breaks.append(f"{name} ({facts['location']}) {facts['state']}.")
        elif facts["state"] == "unchanged" and not is_kept(facts, records[0], project):
            breaks.append(
                f"{name} ({facts['location']}) is an unversioned file: nothing brings "
                "its content back once it is overwritten."
            )
        if (writer := facts.get("writer")) and writer not in writers:
            writers[writer] = trace_writer(writer, project, breaks)
        inputs.append({"name": name, **facts})
    return {
        "run_id": run_id,
        "status": run.info.status,
        "commands": [record["command"] for record in records],
        "started": records[0]["started"],
        "seed": records[0]["seed"],
        "code": records[0]["code"],
        "parameters": used_parameters(records),
        "packages": records[0]["packages"],
        "metrics": run.data.metrics,
        "inputs": inputs,
        "written_by": list(writers.values()),
    }


def trace_writer(run_id: str, project: Path, breaks: list[str]) -> Found:
    """Return the trace of an earlier run, or where it ends."""
    from mlflow.exceptions import MlflowException

    try:
        return trace_run(run_id, project, breaks)
    except (BlueprintError, MlflowException) as error:
        breaks.append(f"Run {run_id} can't be followed further: {error}")
        return {"run_id": run_id, "inputs": [], "written_by": []}


def code_breaks(run_id: str, code: Found) -> Iterator[str]:
    """Yield a sentence if the code that ran can't be brought back from git."""
    run = f"Run {run_id[:8]}"
    if code["commit"] is None:
        yield f"{run} ran without a git commit: its code is not recorded."
    elif "patch_left_out" in code:
        yield f"{run} ran on a dirty tree, whose patch was too large to keep."
    elif code.get("patch_masked"):
        yield f"{run} ran on a dirty tree, whose patch holds masked secrets."
    elif code["dirty"]:
        yield f"{run} ran on a dirty tree: its patch is kept, but nobody committed it."


def state_of(facts: Found, project: Path) -> str:
    """Tell whether a data set's storage still holds what the run saw."""
    import fsspec

    location, digest = facts["location"] or "", facts.get("digest") or ""
    if "files" not in facts:
        return "not a file"
    try:
        system, path = fsspec.core.url_to_fs(
            location if "://" in location else str(project / location)
        )
        limit = math.inf if digest.startswith("sha256") else 0
        measured = measure_files(system, path, limit)
    except (OSError, ImportError, ValueError) as error:
        return f"can't be looked at from here: {error}"
    if not measured:
        return "is missing"
    return "unchanged" if measured["digest"] == digest else "changed on disk since"


def is_kept(facts: Found, record: Found, project: Path) -> bool:
    """Tell whether an older content could be brought back, by Kedro, git or a run."""
    location = facts["location"]
    if facts.get("version") or facts.get("writer") or "://" in location:
        return True
    committed = git(project, "rev-parse", f"{record['code']['commit']}:./{location}")
    return bool(committed) and committed == git(project, "hash-object", location)


def used_parameters(records: list[Found]) -> Found:
    """Return the parameters that the nodes of a run took, as they were written."""
    used: Found = {}
    for record in records:
        known = record["parameters"] | record["runtime_parameters"]
        names = {name for node in record["nodes"] for name in node["inputs"]}
        for name in sorted(names):
            key = name.removeprefix("params:").partition(".")[0]
            used |= {key: known.get(key)} if name.startswith("params:") else {}
    return used


def show(found: Found) -> str:
    """Return a trace as a tree for people."""
    lines = []
    for version in found["versions"] or [None]:
        aliases = ", ".join(version["aliases"]) or "no alias" if version else ""
        lines.append(
            f"{version['name']} version {version['version']} ({aliases})"
            if version
            else "no registered version"
        )
    lines += branches([_run_tree(found["run"])])
    lines += ["", "The trail is whole." if not found["breaks"] else "The trail breaks:"]
    return "\n".join(
        [*lines, *(f"- {line}" for line in dict.fromkeys(found["breaks"]))]
    )


def branches(trees: list[Any], indent: str = "") -> Iterator[str]:
    """Yield the lines of (text, branches) pairs, drawn as a tree."""
    for i, (text, below) in enumerate(trees):
        last = i == len(trees) - 1
        yield f"{indent}{'└─' if last else '├─'} {text}"
        yield from branches(below, f"{indent}{'   ' if last else '│  '}")


def _run_tree(run: Found) -> tuple[str, list[Any]]:
    code = run.get("code", {"commit": "unknown", "dirty": None})
    tree = "dirty" if code["dirty"] else "clean"
    below: list[Any] = [
        (f"code: commit {code['commit']} ({tree})", []),
        *((f"command: {command}", []) for command in run.get("commands", [])),
        *(
            (f"{k}: {json.dumps(v)[:100]}", [])
            for k, v in run.get("parameters", {}).items()
        ),
    ]
    for facts in run["inputs"]:
        writer = facts.get("writer")
        below.append(
            (
                f"{facts['name']}: {facts['location']} [{facts['state']}]",
                [
                    (f"digest {facts.get('digest')}", []),
                    *([(f"{facts['rows']} rows", [])] if "rows" in facts else []),
                    *(
                        [(f"version {facts['version']}", [])]
                        if facts.get("version")
                        else []
                    ),
                    *([(f"written by run {writer}", [])] if writer else []),
                ],
            )
        )
    below += [_run_tree(writer) for writer in run["written_by"]]
    status = f"{run.get('status')}, {run.get('started')}"
    return f"run {run['run_id']} ({status})", below
