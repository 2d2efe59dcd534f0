"""The command that starts the server; imports nothing heavy until it does."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import env_option

from .settings import Settings


def settings_options(command: Any) -> Any:
    """Give a command an option for each of the settings that have a help."""
    for one in reversed([one for one in fields(Settings) if one.metadata]):
        name = f"--{one.name.replace('_', '-')}"
        flag = f"{name}/--no-{name[2:]}" if isinstance(one.default, bool) else name
        more = {"default": one.default, "show_default": True, **one.metadata}
        command = click.option(flag, **more)(command)
    return command


@click.command()
@click.argument("model_uri", required=False)
@settings_options
@env_option
def serve(model_uri: str | None, env: str | None, **options: Any) -> None:
    """Serve MODEL_URI (by default the champion) over REST.

    \b
    kedro model serve --port 8000
    curl -H 'Content-Type: application/json' \\
         -d @request.json http://127.0.0.1:8000/invocations
    kedro model serve --challenger-share 0.1 --split-by X-User-Id
    kedro model serve models:/my_model/3 --payload-log data/08_reporting/payloads
    MODEL_SERVER_TOKENS=… kedro model serve --host 0.0.0.0 --workers 4
    """
    # Read when numeric libraries are imported; threads of two processes would wait
    # for each other.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(options["threads"])
    # A registry that is down is noticed in seconds, not minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from ...cli import one_sentence_errors, registered_model
    from ..errors import BlueprintError
    from ..registry import no_alias, version_of
    from . import server

    with one_sentence_errors():
        name = registered_model(env)
        if model_uri is None and version_of(name, "champion") is None:
            raise BlueprintError(no_alias(name, "champion"))
        tokens = os.environ.get("MODEL_SERVER_TOKENS", "").encode()
        if file := options["token_file"]:
            tokens = Path(file).read_bytes() if Path(file).is_file() else b""
            if not tokens.split():
                raise BlueprintError(f"There is no token in {file}: write one a line.")
        uri = model_uri or f"models:/{name}@champion"
        server.serve(Settings(uri, name, env, tuple(tokens.split()), **options))
