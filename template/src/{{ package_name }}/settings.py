"""Project settings: https://docs.kedro.org/en/stable/configure/configuration_basics/"""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from . import mlops_hooks
from .mlops.stores import RESOLVERS
from .progress import ProgressHooks
from .start_up import ignore_known_warnings

# Neither Kedro nor MLflow reports usage from this project unless asked to.
os.environ.setdefault("DO_NOT_TRACK", "true")
# scikit-learn's threads sleep when they wait: spinning, they take minutes for seconds
# of work as soon as another process needs a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# One core is left to the process that proves the model.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))
ignore_known_warnings()

HOOKS: tuple[Any, ...] = (ProgressHooks(), *mlops_hooks.HOOKS)
# Your own: a tuple of the same name in a file hooks.py beside this one.
if find_spec(f"{__package__}.hooks"):
    HOOKS += import_module(f"{__package__}.hooks").HOOKS

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow.yml"], "gates": ["gates.yml"]},
    "custom_resolvers": RESOLVERS,
}
