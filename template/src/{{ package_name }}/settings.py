"""Project settings: https://docs.kedro.org/en/stable/configure/configuration_basics/"""

import os

from .mlops.guard import GuardHooks
from .mlops.packaging import PackagingHooks
from .mlops.progress import ProgressHooks
from .mlops.quiet import ignore_known_warnings
from .mlops.stores import RESOLVERS
from .mlops.tracking import TrackingHooks

# Neither Kedro nor MLflow reports usage from this project unless asked to.
os.environ.setdefault("DO_NOT_TRACK", "true")
# scikit-learn's threads sleep when they wait: spinning, they take minutes for seconds
# of work as soon as another process needs a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ignore_known_warnings()

HOOKS = (ProgressHooks(), TrackingHooks(), PackagingHooks(), GuardHooks())

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow.yml"], "gates": ["gates.yml"]},
    "custom_resolvers": RESOLVERS,
}
