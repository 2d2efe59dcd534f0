"""What it takes to run again: code, configuration, packages, seed and command."""

import os
import platform
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ..errors import BlueprintError
from ..masking import MASKER

MOST_PATCH = 1_000_000  # characters
DIFF = (  # whatever the user's own configuration of git says
    *("diff", "--binary", "--relative", "--no-color", "--no-ext-diff"),
    *("--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "HEAD"),
)
CODE = ("--", ".", ":(exclude)data", ":(exclude,glob)**/*.ipynb")  # people's data


def call(folder: Path, *command: str, **options: Any) -> str:
    """Return what a command prints; refuse with its last lines if it fails."""
    try:
        printed: str = subprocess.run(  # noqa: S603 (git and uv)
            command,
            cwd=folder,
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            **options,
        ).stdout
        return printed
    except FileNotFoundError as error:
        raise BlueprintError(f"{command[0]} is not on PATH.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip() or error.stdout.strip()).splitlines()
        raise BlueprintError(
            f"`{' '.join(command[:4])}` failed: {' '.join(said[-4:])}"
        ) from error


def git(project: Path, *arguments: str, **options: Any) -> str:
    """Return what a git command in the project prints; nothing if it fails."""
    try:
        return call(project, "git", *arguments, **options)
    except BlueprintError:
        return ""


def describe_code(project: Path) -> dict[str, Any]:
    """Return the commit, and the patch from it to the tree, new files included."""
    commit = git(project, "rev-parse", "HEAD").strip()
    if not commit:
        return {"commit": None, "dirty": None, "lost": "it ran without a git commit"}
    if git(project, "check-ignore", "."):
        return {"commit": commit, "dirty": None, "lost": "git ignores its folder"}
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "GIT_INDEX_FILE": str(Path(folder, "index"))}
        git(project, "read-tree", "HEAD", env=env)
        git(project, "add", "--intent-to-add", *CODE, env=env)
        patch = git(project, *DIFF, *CODE, env=env)
    code: dict[str, Any] = {"commit": commit, "dirty": bool(patch)}
    if len(patch) > MOST_PATCH:
        code["lost"] = f"its patch is longer than {MOST_PATCH} characters"
    elif patch:
        code["patch"] = MASKER.text(patch)
        if code["patch"] != patch:
            code["lost"] = "its patch holds secrets, which are masked"
    return code


@cache
def packages() -> dict[str, str]:
    """Return the version of each installed package; of two, the one imported."""
    known = [found.metadata for found in distributions()]
    return {
        about["Name"].lower().replace("_", "-"): about["Version"]
        for about in reversed(known)
    }


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
    loader = context.config_loader
    written = {
        kind: unresolved(loader, kind) for kind in ("parameters", "catalog", "mlflow")
    }
    MASKER.learn_environment(str(written))
    return {
        "runtime_parameters": MASKER.tree(run_params["runtime_params"] or {}),
        "command": MASKER.command([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "pipelines": run_params["pipeline_names"] or ["__default__"],
        "environment": run_params["env"] or loader.default_run_env,
        "parameters": MASKER.tree(written["parameters"]),
        "catalog": MASKER.tree(written["catalog"]),
        "python": platform.python_version(),
        "packages": packages(),
        "code": describe_code(context.project_path),
    }
