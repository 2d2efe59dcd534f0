"""The project's commands, `kedro run` and `kedro model …`: light until they act."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import yaml
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.validation import DataValidationError, ParameterValidationError
from omegaconf.errors import InterpolationResolutionError

from .mlops.errors import BlueprintError, in_one_sentence

ONE_SENTENCE = (
    BlueprintError,
    DataValidationError,
    DatasetError,
    InterpolationResolutionError,
    MissingConfigException,
    PackageNotFoundError,
    ParameterValidationError,
    yaml.YAMLError,
)
SELECTION = (
    "pipeline",
    "pipelines",
    "tags",
    "node_names",
    "from_nodes",
    "to_nodes",
    "from_inputs",
    "to_outputs",
    "namespaces",
)


@click.group(name="project")
def cli() -> None:
    """The project's own commands."""


@cli.command(params=kedro_run.params, short_help="Run pipelines.")
def run(**options: Any) -> None:
    """Process the data, train, register and score; or run what is selected.

    \b
    kedro run                               all of it, one MLflow run each
    kedro run --pipelines batch_inference   score a file with the champion
    """
    from .mlops.packaging import start_bare_process
    from .pipeline_registry import SEQUENCE

    with one_sentence_errors():
        require_pipelines(options["pipelines"])
        selected = any(options[name] for name in SELECTION)
        if not selected or "training" in options["pipelines"]:
            start_bare_process()
        if selected:
            run_pipelines(**options)
            return
        for name in SEQUENCE:
            if name == "batch_inference" and not champion_exists(options):
                click.echo("No version is champion yet, so nothing was scored.")
                continue
            run_pipelines(**{**options, "pipelines": [name]})


@cli.group()
def model() -> None:
    """Work with the registered model."""


# Rendered only where the champion is served.
if find_spec(f"{__package__}.mlops.serving"):
    model.add_command(
        import_module(f"{__package__}.mlops.serving.command").serve, "serve"
    )


def require_pipelines(names: list[str]) -> None:
    """Refuse a name that has no folder; Kedro would fail to import it."""
    folders = Path(__file__).with_name("pipelines").glob("*/__init__.py")
    found = {"__default__", *(file.parent.name for file in folders)}
    if unknown := sorted(set(names) - found):
        raise BlueprintError(
            f"There is no pipeline {', '.join(unknown)}: there are "
            f"{', '.join(sorted(found))}."
        )


def run_pipelines(**options: Any) -> None:
    """Do what Kedro's own run command does."""
    click.get_current_context().invoke(kedro_run, **options)


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Show what can't be done as one sentence; close an interrupted run as FAILED."""
    from kedro_mlflow.pipeline.pipeline_ml import KedroMlflowPipelineMLError
    from mlflow.exceptions import MlflowException

    from .mlops.tracking import end_active_run

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except (*ONE_SENTENCE, MlflowException) as error:
        raise click.ClickException(in_one_sentence(error)) from error
    except KedroMlflowPipelineMLError as error:
        raise click.ClickException(
            f"{in_one_sentence(error)} A pipeline that logs a model can't be run in "
            "part: `kedro run --pipelines training`."
        ) from error
    except (KeyboardInterrupt, SystemExit) as error:
        end_active_run(error)
        raise


def registered_model(env: str | None, conf_source: str | None = None) -> str:
    """Connect to the stores of an environment; return the registered model's name."""
    session = KedroSession.create(env=env, conf_source=conf_source)
    return str(session.load_context().config_loader["globals"]["registered_model"])


def champion_exists(options: dict[str, Any]) -> bool:
    """Tell whether there is a version to score with."""
    from .mlops.registry import version_of

    name = registered_model(options["env"], options["conf_source"])
    return version_of(name, "champion") is not None
