"""Settings of a project with kedro-mlflow and nothing of the template's."""

from .hooks import LoggingHooks

HOOKS = (LoggingHooks(),)
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
