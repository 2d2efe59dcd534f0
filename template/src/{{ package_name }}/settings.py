"""Project settings: https://docs.kedro.org/en/stable/configure/configuration_basics/"""

import os
import warnings

from .mlops.guard import GuardHooks
from .mlops.packaging import PackagingHooks
from .mlops.progress import ProgressHooks
from .mlops.stores import RESOLVERS
from .mlops.tracking import TrackingHooks

# Neither Kedro nor MLflow reports usage from this project unless asked to.
os.environ.setdefault("DO_NOT_TRACK", "true")

# What Kedro and MLflow warn of on every run, whatever the project does.
for message in (
    "register_new_resolver",  # OmegaConf, of Kedro's configuration loader
    ".*Add type hints to the `predict` method",  # MLflow, of kedro-mlflow's model
    ".*dataset source can be interpreted in multiple ways",  # MLflow, of any file
    ".*Inferred schema contains integer column",  # MLflow, of input data sets
):
    warnings.filterwarnings("ignore", message=message, category=UserWarning)

HOOKS = (ProgressHooks(), TrackingHooks(), PackagingHooks(), GuardHooks())

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow.yml"], "gates": ["gates.yml"]},
    "custom_resolvers": RESOLVERS,
}
