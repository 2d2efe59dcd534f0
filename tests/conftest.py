"""Fixtures: a snapshot of the template, rendered folders, and projects that ran."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

from . import support
from .retention_support import load_retention
from .support import Project


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile equal texts once; Copier compiles all of a template for every folder."""
    known: dict[tuple[Any, ...], Any] = {}
    compile_anew = jinja2.Environment.compile

    def compile_once(self: jinja2.Environment, source: Any, *args: Any) -> Any:
        how = (*sorted(self.extensions), self.keep_trailing_newline, self.trim_blocks)
        key = (source, *args, *how)
        if key not in known:
            known[key] = compile_anew(self, source, *args)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a snapshot of the working tree's template, tagged."""
    return support.snapshot_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def render(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Return a function that renders a fresh folder with the given answers."""
    numbers = itertools.count()

    def render(**answers: Any) -> Path:
        folder = tmp_path_factory.mktemp(f"rendered{next(numbers)}-")
        return support.render_template(template, folder / "project", **answers)

    return render


@pytest.fixture(scope="session")
def rendered(render: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that renders each set of answers once; read-only."""
    folders: dict[str, Path] = {}

    def rendered(**answers: Any) -> Path:
        name = repr(sorted(answers.items()))
        if name not in folders:
            folders[name] = render(**answers)
        return folders[name]

    return rendered


@pytest.fixture(scope="session")
def installed_project(render: Callable[..., Path]) -> Callable[..., Project]:
    """Return a function that renders, installs and commits a fresh project."""

    def installed_project(**answers: Any) -> Project:
        folder = render(**answers)
        version = answers.get("python_version", ">=3.11,<3.14")
        project = support.install_locked(folder, version)
        support.commit_all(folder, "Start")
        return project

    return installed_project


@pytest.fixture(scope="session")
def worked_project(
    installed_project: Callable[..., Project],
    mlflow_server: Callable[[], str],
) -> Callable[..., Project]:
    """Return a function that gives a project in which `kedro run` was done once.

    It is made once for each set of answers: treat it as read-only, or copy it.
    """
    projects: dict[str, Project] = {}

    def worked_project(**answers: Any) -> Project:
        name = repr(sorted(answers.items()))
        if name not in projects:
            project = installed_project(**answers)
            if answers.get("tracking") == "server":
                project.env = {"MLFLOW_TRACKING_URI": mlflow_server()}
            elif answers.get("tracking") == "databricks":
                # A workspace can't exist here: the rendered addresses are asserted
                # elsewhere, and the project runs against a local store.
                project.env = {
                    "MLFLOW_TRACKING_URI": project.store,
                    "MLFLOW_REGISTRY_URI": project.store,
                }
            project.first_run = project.run("kedro", "run", timeout=600)
            projects[name] = project
        return projects[name]

    return worked_project


@pytest.fixture(scope="session")
def mlflow_server(
    installed_project: Callable[..., Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], str]]:
    """Return a function that starts a real MLflow server once, by its address."""
    started: list[str] = []
    with ExitStack() as stack:

        def mlflow_server() -> str:
            if not started:
                project = installed_project(tracking="server")
                folder = tmp_path_factory.mktemp("server")
                port = support.free_port()
                url = f"http://127.0.0.1:{port}"
                command = [
                    *(str(project.python.parent / "mlflow"), "server"),
                    *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                    *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                    *("--artifacts-destination", str(folder / "artifacts")),
                ]
                # 40 threads of up to two connections each; with its default of 15 they
                # wait for each other when many clients write at once.
                env = project.environment(
                    MLFLOW_SQLALCHEMYSTORE_POOL_SIZE="80",
                    # Eight processes for MLflow's generative AI, on two cores.
                    MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
                )
                stack.enter_context(
                    support.served(command, f"{url}/health", folder, env)
                )
                started.append(url)
            return started[0]

        yield mlflow_server


@pytest.fixture(scope="session")
def retention(
    rendered: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The retention modules of a rendered project, imported into this process."""
    folder = tmp_path_factory.mktemp("retention")
    return load_retention(rendered(), "mortgage_approval", folder)
