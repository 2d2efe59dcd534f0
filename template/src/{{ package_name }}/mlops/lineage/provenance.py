"""What it takes to run again: code, configuration, packages, seed and command."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from ..masking import MASKER

MOST_PATCH = 1_000_000  # characters
DIFF = (  # whatever the user's own configuration of git says
    *("diff", "--binary", "--relative", "--no-color", "--no-ext-diff"),
    *("--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "HEAD"),
)
NOT_CODE = (":(exclude)data", ":(exclude,glob)**/*.ipynb")  # they may hold people


def git(project: Path, *arguments: str, index: str = "", most: int = -1) -> str:
    """Return what a git command in the project prints; nothing if it fails."""
    if shutil.which("git") is None:
        return ""
    with subprocess.Popen(  # noqa: S603 (git's own commands)
        ["git", *arguments],  # noqa: S607 (wherever git is)
        cwd=project,
        env={**os.environ, **({"GIT_INDEX_FILE": index} if index else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="surrogateescape",
    ) as process:
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        printed = process.stdout.read(most)
        if len(printed) == most:
            process.kill()
            return printed
    return printed if process.returncode == 0 else ""


def describe_code(project: Path) -> dict[str, Any]:
    """Return the commit, and the patch from it to the tree, new files included."""
    commit = git(project, "rev-parse", "HEAD").strip()
    if not commit:
        return {"commit": None, "dirty": None}
    with tempfile.TemporaryDirectory() as folder:
        own, code_only = str(Path(folder, "index")), ("--", ".", *NOT_CODE)
        git(project, "read-tree", "HEAD", index=own)
        git(project, "add", "--intent-to-add", *code_only, index=own)
        patch = git(project, *DIFF, *code_only, index=own, most=MOST_PATCH + 1)
    code: dict[str, Any] = {"commit": commit, "dirty": bool(patch)}
    if len(patch) > MOST_PATCH:
        code["patch_left_out"] = f"it is longer than {MOST_PATCH} characters"
    elif patch:
        code["patch"] = MASKER.text(patch)
        code["patch_masked"] = code["patch"] != patch
    return code


@cache
def packages() -> dict[str, str]:
    """Return the version of each installed package, as its folder names it."""
    found: dict[str, str] = {}
    for folder in map(Path, sys.path):
        for info in folder.glob("*.dist-info"):
            name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
            found.setdefault(name.lower().replace("_", "-"), version)
    return dict(sorted(found.items()))


def unresolved(loader: Any, kind: str) -> dict[str, Any]:
    """Return a kind of configuration as it is written, the environment's on top.

    Kedro has no public way to read configuration without resolving it.
    """
    from omegaconf import OmegaConf

    base, environment, *_ = loader._read_raw_config(kind)
    written: dict[str, Any] = {}
    for config in [*base.values(), *environment.values()]:
        plain: Any = OmegaConf.to_container(config, resolve=False)
        written |= plain
    return written


def describe_run(context: Any, run_params: dict[str, Any]) -> dict[str, Any]:
    """Return all that a run's repetition needs but its data, secrets masked."""
    written = {
        kind: unresolved(context.config_loader, kind)
        for kind in ("parameters", "catalog", "mlflow")
    }
    MASKER.learn_environment(str(written))
    runtime = MASKER.tree(run_params["runtime_params"] or {})
    return {
        "command": MASKER.command([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "pipelines": run_params["pipeline_names"] or ["__default__"],
        "environment": run_params["env"] or context.config_loader.default_run_env,
        "runtime_parameters": runtime,
        "parameters": MASKER.tree(written["parameters"]),
        "catalog": MASKER.tree(written["catalog"]),
        "python": platform.python_version(),
        "packages": packages(),
        "code": describe_code(context.project_path),
    }
