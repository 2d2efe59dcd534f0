"""The image serves: as a fixed user, from a read-only tree, and ends when told."""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import container, variants
from .container import Container, Running, Stages
from .support import Project, answers, free_port, run
from .test_deploy_kubernetes import by_kind, manifests, pods_of
from .test_kit import read_dockerfile

Render = Callable[..., Path]
SANDBOX = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="Mounts and users of its own need Linux and root.",
)
ASK = """
import json, sys
from urllib.request import Request, urlopen
url, *body = sys.argv[1:]
data = body[0].encode() if body else None
kind = {"Content-Type": "application/json"}
with urlopen(Request(url, data, kind), timeout=30) as answer:
    print(answer.status, answer.read().decode())
"""
# What an interpreter and its packages may need of the base image; all of Debian's slim
# image or of Python's.
LIBRARIES = {
    *("libbz2-1.0", "libc6", "libffi8", "libgcc-s1", "liblzma5", "libsqlite3-0"),
    *("libssl3", "libstdc++6", "libuuid1", "zlib1g", "libexpat1", "libreadline8"),
    *("libncursesw6", "libtinfo6", "libdb5.3", "libgdbm6", "libuuid1"),
}


def targets(folder: Path) -> list[str]:
    """Return the names of an image's stages, in order."""
    found = read_dockerfile(folder / "Dockerfile")
    return [rest.split()[-1] for word, rest, _ in found if word == "FROM"]


@pytest.mark.parametrize("answers", variants.all_pairs(), ids=variants.label)
def test_targets_that_serve_are_there_where_a_server_is(
    rendered: Render, answers: variants.Answers
) -> None:
    folder = rendered(**answers)
    serves = (folder / "src").glob("*/mlops/serving/server.py")
    building = ["dependencies", "project", "base"]
    serving = ["serve", "model", "serve-baked"] if [*serves] else []
    stack = (folder / "deploy/compose").exists()
    tracking = ["tracking-dependencies", "tracking"] if stack else []
    assert targets(folder) == [*building, *serving, *tracking, "run"]


def test_a_project_without_a_server_has_no_deployment_but_the_image(
    rendered: Render,
) -> None:
    folder = rendered(serving="none")
    assert targets(folder)[-1] == "run"
    assert not (folder / "deploy").exists()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".yml", ".yaml", ""):
            assert "deploy/" not in path.read_text("utf-8", "replace"), path


# What is built ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def project(worked_project: Callable[..., Project]) -> Project:
    """A project for Kubernetes that was trained, on a server."""
    return worked_project(serving="kubernetes", tracking="server")


@pytest.fixture(scope="module")
def model(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The champion in a folder, by the command that the Dockerfile names."""
    text = (project.path / "Dockerfile").read_text()
    (command,) = re.findall(r"#     uv run (mlflow .*)\\\n# +(--dst-path) ", text)
    folder = tmp_path_factory.mktemp("champion") / "model"
    project.run(*" ".join(command).split(), str(folder))
    return folder


@pytest.fixture(scope="module")
def images(
    project: Project, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Stages:
    """The stages of the image, those that serve with the champion baked in."""
    folder = tmp_path_factory.mktemp("stages")
    return container.build(project.path, "serve-baked", folder, model=model)


@pytest.fixture(scope="module")
def baked(images: Stages) -> Container:
    """The image that holds the champion."""
    return images["serve-baked"]


def is_healthy(running: Running, image: Container) -> bool:
    """Tell whether the image's own health check says so."""
    python = "/app/.venv/bin/python"
    return running.ask(python, *image.health[1:]).returncode == 0


@SANDBOX
@pytest.mark.run
def test_the_image_serves_as_its_user_from_a_read_only_tree_and_stops(
    baked: Container, model: Path
) -> None:
    command = (*baked.entrypoint, *baked.command)
    assert command == ("kedro", "model", "serve", "/model", "--host", "0.0.0.0")
    base = "http://127.0.0.1:8000"
    with baked.start(*command, read_only=True, own_network=True) as running:
        running.wait_until(lambda: is_healthy(running, baked))
        status = Path(f"/proc/{running.first}/status").read_text()
        assert re.search(r"(?m)^Uid:\s+10001\s+10001", status)
        assert re.search(r"(?m)^CapEff:\s+0+$", status)
        assert re.search(r"(?m)^NSpid:\s+\d+\s+1$", status)
        refused = running.ask("/usr/bin/touch", "/app/x")
        assert "Read-only file system" in refused.stderr
        python = ("/app/.venv/bin/python", "-c", ASK)
        for path in ("/ping", "/v2/health/live", "/v2/health/ready", "/version"):
            assert running.ask(*python, base + path).stdout.startswith("200 ")
        example = (model / "serving_input_example.json").read_text()
        answer = running.ask(*python, f"{base}/invocations", example)
        assert len(json.loads(answer.stdout[4:])["predictions"]) > 0
        assert foreign_libraries(running.first) == set()
        megabytes = memory_of(running.first)
        print(f"{megabytes:.0f} MB of memory with the example's model")
        assert megabytes < 1024 / 2, "The manifests ask for 1 GiB: twice as much."
        # Process 1 gets no signal that it does not handle: it would be killed later.
        assert running.stop() in (0, 128 + signal.SIGTERM), running.log.read_text()
    assert "Traceback" not in running.log.read_text()


def foreign_libraries(process: int) -> set[str]:
    """Return packages whose libraries a process loaded, but the base image lacks."""
    maps = Path(f"/proc/{process}/maps").read_text()
    files = set(re.findall(r"/lib/\w+-linux-gnu/\S+\.so\S*", maps))
    assert files, maps
    owners = set()
    for file in files:
        # A library may be registered where it lay before /lib became a link.
        found = run("dpkg", "-S", f"*{file}", cwd=Path("/"), check=False).stdout
        assert found, file
        owners |= set(re.findall(r"(?m)^([^:\s]+)", found))
    return owners - LIBRARIES


def memory_of(process: int) -> float:
    """Return how many megabytes a process holds."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def size_of(path: Path) -> float:
    """Return how many megabytes a file or a folder holds."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.lstat().st_size for one in files if one.is_file()) / 1e6


@SANDBOX
@pytest.mark.run
def test_the_image_runs_any_command_and_holds_no_tool_to_build_with(
    baked: Container,
) -> None:
    listed = baked.run(*baked.entrypoint, "registry", "list", read_only=True).stdout
    assert "- batch_inference" in listed
    programs = {path.name for path in baked.root.glob("usr/bin/*")}
    programs |= {path.name for path in baked.root.glob("app/.venv/bin/*")}
    assert {"dash", "env", "kedro", "python"} <= programs
    assert (
        programs & {"cc", "g++", "gcc", "git", "make", "pytest", "ruff", "uv"} == set()
    )
    packages = baked.root.glob("app/.venv/lib/python3*/site-packages/*")
    sizes = sorted(((size_of(path), path.name) for path in packages), reverse=True)
    print(f"{sum(size for size, _ in sizes):.0f} MB beside the base image, of which")
    for size, name in sizes[:8]:
        print(f"{size:5.0f} MB {name}")
    assert sum(size for size, _ in sizes) < 1000
    assert not (baked.root / "app/data").exists()


@SANDBOX
@pytest.mark.run
def test_an_image_into_which_no_model_was_baked_says_so_and_ends(
    baked: Container, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [word.replace("/model", "/nothing") for word in baked.command]
    done = baked.run(
        *(*baked.entrypoint, *command), check=False, read_only=True, own_network=True
    )
    assert done.returncode == 1
    assert "can't be served" in done.stderr
    assert "Traceback" not in done.stderr


@SANDBOX
@pytest.mark.run
def test_a_check_of_the_health_fails_where_nothing_serves(baked: Container) -> None:
    words = ("/app/.venv/bin/python", *baked.health[1:])
    done = baked.run(*words, check=False, read_only=True, own_network=True)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


# In a cluster -------------------------------------------------------------------------
def container_of(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the container that a kind's pods have."""
    (document,) = by_kind(documents, kind)
    (pod,) = pods_of(document)
    return pod["containers"][0]


@pytest.fixture(scope="module")
def production(project: Project) -> list[dict[str, Any]]:
    """The manifests of production."""
    return manifests(project.path, "production")


@SANDBOX
@pytest.mark.run
def test_the_pod_of_the_server_answers_its_probes_and_drains(
    images: Stages, production: list[dict[str, Any]], project: Project
) -> None:
    image, pod = images["serve"], container_of(production, "Deployment")
    settings = by_kind(production, "ConfigMap")[0]["data"].keys()
    env = {name: project.env[name] for name in settings}
    port = free_port()
    # Not 0.0.0.0: the server shares this machine's network, to reach the registry.
    here = ("--host=127.0.0.1", f"--port={port}")
    command = (*image.entrypoint, *pod["args"], *here)
    with image.start(*command, env=env, group=10001, read_only=True) as running:
        urls = {
            probe: f"http://127.0.0.1:{port}{pod[probe]['httpGet']['path']}"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        }
        running.wait_until(lambda: answers(urls["startupProbe"]))
        assert all(map(answers, urls.values()))
        smoke = (project.path / "deploy/kubernetes/smoke.py").read_text()
        asked = ("models:/mortgage_approval@champion", f"http://127.0.0.1:{port}")
        said = project.run("python", "-", *asked, stdin=smoke).stdout
        assert re.fullmatch(r"Version 1 answered \d+ rows.\n", said)
        started = time.monotonic()
        os.kill(running.first, signal.SIGTERM)
        running.wait_until(lambda: not answers(urls["readinessProbe"]))
        assert answers(urls["livenessProbe"]), "It is restarted while it drains."
        assert running.process.wait(timeout=60) in (0, 128 + signal.SIGTERM)
        assert 15 <= time.monotonic() - started < 30


@SANDBOX
@pytest.mark.run
def test_the_scheduled_job_scores_a_file_of_its_volume(
    images: Stages, production: list[dict[str, Any]], project: Project, tmp_path: Path
) -> None:
    image, job = images["serve"], container_of(production, "CronJob")
    held_out = project.path / "data/05_model_input/held_out_instances.csv"
    shutil.copy2(held_out, tmp_path / "to_score.csv")
    os.chown(tmp_path, 0, 10001)  # as fsGroup does
    tmp_path.chmod(0o770)
    image.run(
        *(*image.entrypoint, *job["args"]),
        env=project.env,
        group=10001,
        read_only=True,
        mounts={"/app/data": tmp_path},
    )
    scored = (tmp_path / "scored.csv").read_text().splitlines()
    assert len(scored) == len(held_out.read_text().splitlines())
    expected = project.path / "data/07_model_output/predictions.csv"
    assert scored[0] == expected.read_text().splitlines()[0]
