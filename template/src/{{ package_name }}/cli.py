"""The project's commands, run, model … and prune …: light until they act."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import env_option
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.validation import DataValidationError, ParameterValidationError
from omegaconf.errors import InterpolationResolutionError

from .mlops.errors import BlueprintError, in_one_sentence
from .mlops.promotion import command as promotion

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
    if not find_spec("kedro_mlflow"):  # adopted a moment ago
        run_pipelines(**options)
        return
    from . import pipeline_registry
    from .mlops.packaging import start_bare_process

    # An adopted project may have no such sequence.
    sequence = getattr(pipeline_registry, "SEQUENCE", ())
    with one_sentence_errors():
        options["conf_source"] = unpacked(options["conf_source"])
        require_pipelines(options["pipelines"])
        selected = not sequence or any(options[name] for name in SELECTION)
        if not selected or "training" in options["pipelines"]:
            start_bare_process()
        if selected:
            run_pipelines(**options)
            return
        for name in sequence:
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


@model.command()
@click.argument("subject", default="champion")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@env_option
def trace(subject: str, as_json: bool, env: str | None) -> None:
    """Show where a model comes from, and where it serves.

    SUBJECT is a version, an alias (by default champion), a model URI or a run.

    \b
    kedro model trace 3
    kedro model trace models:/my_model@champion --json
    """
    from .mlops.lineage.trace import Trail, show
    from .mlops.stores import project_path

    with one_sentence_errors():
        trail = Trail(registered_model(env), subject, project_path())
    if as_json:
        found = trail.tree | {"breaks": list(trail.breaks)}
        click.echo(json.dumps(found, indent=2, default=str))
    else:
        show(trail)


@model.command()
@click.argument("subject")
@click.option("--commit", help="Other code than the recorded one.")
@click.option("--with", "packages", multiple=True, help="Another package==version.")
@click.option("--params", multiple=True, help="Another (or a masked) key=value.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@env_option
def reproduce(
    subject: str,
    commit: str | None,
    packages: tuple[str, ...],
    params: tuple[str, ...],
    as_json: bool,
    env: str | None,
) -> None:
    """Run a version again in its code, packages and data, and compare.

    Nothing is registered, and the working tree stays as it is. What you change on
    purpose is named beside what it changes.

    \b
    kedro model reproduce 3
    kedro model reproduce 3 --with scikit-learn==1.9.2
    """
    from .mlops.lineage import reproduce as again
    from .mlops.lineage.trace import Trail
    from .mlops.stores import project_path

    def ask(key: str) -> str:
        if not sys.stdin.isatty():
            raise BlueprintError(f"Parameter {key} is masked: give `--params {key}=…`.")
        return str(click.prompt(key, hide_input=True))

    with one_sentence_errors():
        pins = named(packages, "==")
        given = {k: yaml.safe_load(v) for k, v in named(params, "=").items()}
        trail = Trail(registered_model(env), subject, project_path())
        click.echo("Running it again in an environment of its own.", err=True)
        items = again.reproduce(trail, again.Changes(commit, pins, given), ask)
    # By their texts, since no NaN equals another.
    differing = {k: both for k, both in items.items() if repr(both[0]) != repr(both[1])}
    if as_json:
        click.echo(json.dumps({"items": items, "differing": sorted(differing)}))
    else:
        for item, (recorded, anew) in differing.items():
            click.echo(f"{item}: {str(recorded)[:200]} → {str(anew)[:200]}")
        same = f"{len(items) - len(differing)} of {len(items)} items are equal."
        click.echo(f"Different: {same}" if differing else f"Equal: {same}")
    if differing:
        raise SystemExit(1)


@model.command()
@env_option
def start_run(env: str | None) -> None:
    """Open one MLflow run for several commands, and print its id.

    \b
    export MLFLOW_RUN_ID=$(kedro model start-run)
    kedro run --nodes fit_preprocessor
    kedro run --nodes transform,fit_model
    kedro model end-run
    """
    from .mlops.lineage.shared_run import not_persisted, open_run

    with one_sentence_errors():
        context = KedroSession.create(env=env).load_context()
        if names := not_persisted(context.catalog):
            click.echo(
                f"Not persisted, so not handed from one command to the next: "
                f"{', '.join(names)}. Run the node that writes one together with those "
                "that read it, or add it to the catalog.",
                err=True,
            )
        click.echo(open_run())


@model.command()
@click.argument("run_id", envvar="MLFLOW_RUN_ID")
@env_option
def end_run(run_id: str, env: str | None) -> None:
    """Close the run that `kedro model start-run` opened.

    It becomes FAILED if any command failed, and FINISHED otherwise. If all of
    training ran, its model is logged and registered now.

    \b
    kedro model end-run $MLFLOW_RUN_ID
    """
    from .mlops.lineage.shared_run import close_run
    from .mlops.stores import project_path

    with one_sentence_errors():
        registered_model(env)
        click.echo(close_run(run_id, project_path(), env))


@model.command()
@click.option("--dry-run", is_flag=True, help="Show the steps only.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@env_option
def migrate(dry_run: bool, as_json: bool, env: str | None) -> None:
    """Bring mlflow.db to the schema of the installed MLflow, after a backup.

    End what works with it before. Whatever interrupts it, no run is lost.

    \b
    kedro model migrate --dry-run
    kedro model migrate
    """
    from .mlops.migration import migrate as migration

    with one_sentence_errors():
        say = partial(click.echo, err=True)
        made = migration.migrate(tracking_uri(env), dry_run, say)
    click.echo(json.dumps(made, indent=2) if as_json else migration.describe(made))


@cli.group()
def prune() -> None:
    """Delete what conf/base/artifacts.yml does not keep: plan first, then apply."""


PLAN = "data/08_reporting/prune_plan.json"
JOURNAL = "data/08_reporting/prune_journal.jsonl"
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@prune.command()
@env_option
def check(env: str | None) -> None:
    """Check artifacts.yml: unknown keys, contradictions, rules that match nothing.

    \b
    kedro prune check
    """
    with one_sentence_errors():
        path = rules_of(env)
        from .mlops.retention.plan import check_store

        check_store(path)
        click.echo(f"{path.name} has no mistakes.")


@prune.command()
@click.option("--output", default=PLAN, show_default=True, type=click.Path())
@json_option
@env_option
def plan(output: str, as_json: bool, env: str | None) -> None:
    """Show what would go and why, and write it as a plan. Deletes nothing.

    \b
    kedro prune plan
    kedro prune plan --json --output plan.json
    """
    with one_sentence_errors():
        path = rules_of(env)
        from .mlops.retention.plan import make_plan
        from .mlops.retention.show import show_plan

        made = make_plan(path)
        with writing(output) as file:
            file.write_text(made.model_dump_json(), encoding="utf-8")
        if as_json:
            click.echo(made.model_dump_json())
        else:
            show_plan(made)
            click.echo(f"Written to {output}: `kedro prune apply {output}` does it.")


@prune.command(name="apply")
@click.argument("plan_file", type=click.Path(), default=PLAN)
@click.option("--journal", default=JOURNAL, show_default=True, type=click.Path())
@json_option
@env_option
def apply_plan(plan_file: str, journal: str, as_json: bool, env: str | None) -> None:
    """Do what PLAN_FILE says, as far as nothing protects it by now.

    What it meets for the first time it marks; `kedro prune unmark` undoes that. What
    was marked and is due it deletes.

    \b
    kedro prune apply data/08_reporting/prune_plan.json
    """
    with one_sentence_errors():
        path = rules_of(env)
        from .mlops.retention.apply import apply
        from .mlops.retention.plan import read_plan
        from .mlops.retention.show import show_done

        with writing(journal) as file:
            file.touch()
        done = apply(read_plan(Path(plan_file)), path, file)
        if as_json:
            click.echo(json.dumps(done))
        else:
            show_done(done)
        failed = [f"{d['kind']} {d['id']}: {d['error']}" for d in done if "error" in d]
        if failed:
            raise BlueprintError(f"{len(failed)} failed: {'; '.join(failed)}")


@prune.command()
@click.argument("ids", nargs=-1)
@env_option
def unmark(ids: tuple[str, ...], env: str | None) -> None:
    """Take back the marks of IDS, or all of them, before the grace period ends.

    The next apply marks them again, unless the tag blueprint.pin protects them.

    \b
    kedro prune unmark 0a1b2c3d4e5f60718293a4b5c6d7e8f9
    """
    with one_sentence_errors():
        path = rules_of(env)
        from .mlops.retention.apply import unmark as take_back

        count = take_back(path, ids)
        click.echo(f"{count} marks were taken back.")
        if count < len(set(ids)):
            raise BlueprintError("Not all of them were marked: `kedro prune status`.")


@prune.command()
@json_option
@env_option
def status(as_json: bool, env: str | None) -> None:
    """Show sizes, growth, what is marked until when, what the next plan would free.

    \b
    kedro prune status
    """
    with one_sentence_errors():
        path = rules_of(env)
        from .mlops.retention.plan import make_plan
        from .mlops.retention.show import show_status
        from .mlops.retention.show import status as summary

        found = summary(make_plan(path))
        if as_json:
            click.echo(json.dumps(found, default=asdict))
        else:
            show_status(found)


for promotion_command in promotion.COMMANDS:
    model.add_command(promotion_command)
# Your own: a group `cli` in a file project_cli.py beside this one.
if find_spec(f"{__package__}.project_cli"):
    for own in import_module(f"{__package__}.project_cli").cli.commands.values():
        cli.add_command(own)


def unpacked(conf_source: str | None) -> str | None:
    """Return a folder of configuration; what `kedro package` made is unpacked first."""
    if not conf_source or not Path(conf_source).is_file():
        return conf_source
    folder = click.get_current_context().with_resource(TemporaryDirectory())
    try:
        shutil.unpack_archive(conf_source, folder)
    except shutil.ReadError as error:
        raise BlueprintError(
            f"{conf_source} is neither a folder nor an archive of configuration."
        ) from error
    return str(next(Path(folder).iterdir(), folder))


def require_pipelines(names: list[str]) -> None:
    """Refuse a name without folder or registration; Kedro would fail to import it."""
    folders = Path(__file__).with_name("pipelines").glob("*/__init__.py")
    found = {"__default__", *(file.parent.name for file in folders)}
    if not found.issuperset(names):
        from kedro.framework.project import pipelines

        found.update(pipelines)
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


def named(given: tuple[str, ...], sign: str) -> dict[str, str]:
    """Return values by name from texts that a sign parts in two."""
    if wrong := [text for text in given if sign not in text]:
        raise BlueprintError(f"{wrong[0]} should be NAME{sign}VALUE.")
    parts = [text.partition(sign) for text in given]
    return {name: value for name, _, value in parts}


@contextmanager
def writing(path: str) -> Iterator[Path]:
    """Make the folder of a file; refuse in one sentence if it can't be written."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        yield Path(path)
    except OSError as error:
        raise BlueprintError(f"{path} can't be written: {error.strerror}.") from error


def registered_model(env: str | None, conf_source: str | None = None) -> str:
    """Connect to the stores of an environment; return the registered model's name."""
    session = KedroSession.create(env=env, conf_source=conf_source)
    return str(session.load_context().config_loader["globals"]["registered_model"])


def tracking_uri(env: str | None) -> str:
    """Return the address of an environment's store, without connecting to it."""
    from kedro.framework.project import settings

    from .mlops.stores import project_path

    configuration = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project_path() / settings.CONF_SOURCE),
        env=env or os.environ.get("KEDRO_ENV"),
        **settings.CONFIG_LOADER_ARGS,
    )
    return str(configuration["mlflow"]["server"]["mlflow_tracking_uri"])


def rules_of(env: str | None) -> Path:
    """Check artifacts.yml, connect to the stores, and return the file's path."""
    from .mlops.artifact_rules import check_rules, rules_path

    context = KedroSession.create(env=env).load_context()
    path = rules_path(context)
    check_rules(path, context.catalog)
    return path


def champion_exists(options: dict[str, Any]) -> bool:
    """Tell whether there is a version to score with."""
    from .mlops.registry import version_of

    name = registered_model(options["env"], options["conf_source"])
    return version_of(name, "champion") is not None
