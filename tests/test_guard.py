"""Nothing is lost silently, and bad input gets one sentence."""

import json
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .support import Process, Project, free_port

pytestmark = pytest.mark.run
Worked = Callable[..., Project]
TRAINING = ("kedro", "run", "--pipelines", "training")
FEW_TREES = "estimator.arguments.max_iter=5"


@pytest.fixture(scope="module")
def project(
    worked_project: Worked, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A worked project that these tests may run again, but not edit."""
    return worked_project().copy(tmp_path_factory.mktemp("guard"))


@pytest.fixture
def edited(project: Project) -> Iterator[Project]:
    """The same project, whose sources and raw data are put back after the test."""
    yield project
    for folder in ("src", "data/01_raw", "conf"):
        project.run("git", "checkout", "--quiet", "--", folder)
    project.run("git", "clean", "--quiet", "-f", "src", "conf")


def select(project: Project, statement: str) -> list[Any]:
    """Return what the tracking database holds."""
    database = project.path / "mlflow.db"
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return connection.execute(statement).fetchall()


def count_runs(project: Project) -> int:
    """Count all runs, whatever their status."""
    ((number,),) = select(project, "SELECT count(*) FROM runs")
    return number


def versions_of(project: Project) -> list[Any]:
    """Return all registered versions, and the logged models behind them."""
    return select(project, "SELECT name, version, source FROM model_versions")


def last_run(project: Project) -> tuple[str, dict[str, str]]:
    """Return the status and the tags of the latest run."""
    ((run, status),) = select(
        project,
        "SELECT run_uuid, status FROM runs ORDER BY start_time DESC LIMIT 1",
    )
    return status, dict(
        select(project, f"SELECT key, value FROM tags WHERE run_uuid = '{run}'")
    )


def assert_refused(refused: Process, *words: str) -> None:
    """Fail unless a command ended with one sentence that holds these words."""
    assert refused.returncode == 1, refused.stdout + refused.stderr
    said = [line for line in refused.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, refused.stdout + refused.stderr
    assert refused.stderr.rstrip().endswith(said[0]), refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    for word in words:
        assert word in said[0]


# Training that would lose its model ---------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pipelines", "data_processing,training"], ["training"]),
        (["--pipelines", "__default__"], ["training"]),
        (["--pipelines", "training", "--nodes", "fit_model"], ["training"]),
        (["--pipelines", "training", "--to-nodes", "fit_model"], ["training"]),
        (["--pipelines", "training", "--from-nodes", "predict"], ["training"]),
        (["--pipelines", "training", "--tags", "inference"], ["training"]),
        (["--pipelines", "training", "--runner", "ParallelRunner"], ["ParallelRunner"]),
        (["--pipelines", "training", "--only-missing-outputs"], ["only-missing"]),
    ],
    ids=lambda each: "_".join(each).replace("--", "") if each[0][0] == "-" else "",
)
def test_a_run_that_would_lose_its_model_is_refused(
    project: Project, arguments: list[str], words: list[str]
) -> None:
    before = count_runs(project), versions_of(project)
    refused = project.run("kedro", "run", *arguments, check=False)
    assert_refused(refused, *words, "kedro run --pipelines training")
    assert "] fit_" not in refused.stdout, "A node ran before the refusal."
    assert (count_runs(project), versions_of(project)) == before


def test_a_session_that_would_lose_its_model_is_refused(project: Project) -> None:
    before = count_runs(project), versions_of(project)
    script = (
        "from kedro.framework.session import KedroSession\n"
        "from kedro.framework.startup import bootstrap_project\n"
        "bootstrap_project('.')\n"
        "KedroSession.create('.').run()\n"
    )
    refused = project.run("python", "-c", script, check=False)
    assert refused.returncode == 1
    assert "BlueprintError: 'training' would lose its model" in " ".join(
        refused.stderr.split()
    )
    assert (count_runs(project), versions_of(project)) == before


def test_training_that_loses_nothing_is_not_refused(project: Project) -> None:
    before = len(versions_of(project))
    threads = ("--runner", "ThreadRunner", "--params", FEW_TREES)
    project.run(*TRAINING, *threads)
    assert last_run(project)[0] == "FINISHED"
    assert len(versions_of(project)) == before + 1
    ((alias,),) = select(
        project,
        f"SELECT alias FROM registered_model_aliases WHERE version = {before + 1}",
    )
    assert alias == "challenger"


def test_a_run_from_a_subfolder_writes_to_the_same_store(project: Project) -> None:
    before = count_runs(project)
    folder = project.path / "src" / project.package
    project.run("kedro", "run", "--pipelines", "batch_inference", cwd=folder)
    assert count_runs(project) == before + 1
    stores = [
        path
        for name in ("*.db", "mlruns", "mlartifacts")
        for path in project.path.rglob(name)
        if ".venv" not in path.parts
    ]
    assert sorted(path.name for path in stores) == ["mlartifacts", "mlflow.db"]
    assert {path.parent for path in stores} == {project.path}


# Runs that fail -----------------------------------------------------------------------


def test_a_failing_node_fails_the_run_and_registers_nothing(edited: Project) -> None:
    nodes = edited.path / f"src/{edited.package}/pipelines/training/nodes.py"
    failing = "    raise RuntimeError('out of luck')\n"
    text = nodes.read_text()
    start = "    training = ~labels["
    assert text.count(start) == 1
    nodes.write_text(text.replace(start, failing + start))
    runs, versions = count_runs(edited), versions_of(edited)
    failed = edited.run(*TRAINING, check=False)
    assert failed.returncode == 1
    status, tags = last_run(edited)
    assert (status, count_runs(edited)) == ("FAILED", runs + 1)
    assert "RuntimeError: out of luck" in tags["blueprint.error"]
    assert versions_of(edited) == versions


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name
)
def test_an_interrupted_training_fails_the_run(
    project: Project, number: signal.Signals
) -> None:
    before, versions = count_runs(project), versions_of(project)
    many = "estimator.arguments.max_iter=100000"
    process = project.start(*TRAINING, "--params", many)
    try:
        deadline = time.monotonic() + 120
        while "preprocessor" not in logged_nodes(process):
            assert time.monotonic() < deadline
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode != 0
    status, tags = last_run(project)
    assert (status, count_runs(project)) == ("FAILED", before + 1)
    assert tags["blueprint.error"]
    assert versions_of(project) == versions


def logged_nodes(process: Any) -> str:
    """Return the next line of a run's log."""
    line = process.stdout.readline()
    assert line, "The run ended before it could be interrupted."
    return line


def test_a_model_that_needs_the_project_is_not_registered(edited: Project) -> None:
    """An import by name hides from the check of import statements."""
    folder = edited.path / f"src/{edited.package}/pipelines/training"
    predicting = folder / "predicting.py"
    hidden = f"__import__({edited.package!r} + '.settings')\n    "
    line = "probability = model"
    text = predicting.read_text()
    assert text.count(line) == 1
    predicting.write_text(text.replace(line, hidden + line))
    versions = versions_of(edited)
    refused = edited.run(*TRAINING, "--params", FEW_TREES, check=False)
    assert_refused(refused, "does not work without the project", "not registered")
    status, tags = last_run(edited)
    assert status == "FAILED"
    assert "does not work without the project" in tags["blueprint.error"]
    assert versions_of(edited) == versions


def test_an_import_of_the_project_inside_a_function_is_refused(
    edited: Project,
) -> None:
    predicting = edited.path / f"src/{edited.package}/pipelines/training/predicting.py"
    line = "    probability = model"
    text = predicting.read_text()
    late = "    from .estimator import Estimator  # noqa: F401\n\n"
    predicting.write_text(text.replace(line, late + line))
    before = count_runs(edited)
    refused = edited.run(*TRAINING, check=False)
    assert_refused(refused, "predicting.py:", "an old version would run new code")
    assert count_runs(edited) == before


LATE = """
import sys
from importlib import import_module
from pathlib import Path
packaging = import_module(f"{sys.argv[1]}.mlops.packaging")
file = Path(sys.argv[2], "pipelines", "nodes.py")
file.parent.mkdir()
for text in sys.argv[3:]:
    file.write_text(text.replace("PACKAGE", sys.argv[1]))
    try:
        packaging.refuse_late_imports(file.parents[1])
        print("allowed")
    except packaging.BlueprintError:
        print("refused")
"""


def test_imports_inside_functions_are_told_from_texts_and_other_imports(
    project: Project, tmp_path: Path
) -> None:
    late = [
        "def f(): from .x import y",
        "def f():\n    import os, PACKAGE.x as y",
        "async def f():\n    if True:\n        from PACKAGE import x",
        "class A:\n    def f(self):\n        from ..x import y",
    ]
    sound = [
        "from .x import y",
        "def f():\n    import os",
        "def f():\n    '''\n    from .x import y\n    '''",
        "import typing\nif typing.TYPE_CHECKING:\n    from .x import y",
    ]
    told = project.ask(LATE, project.package, str(tmp_path), *late, *sound)
    assert told.split() == ["refused"] * len(late) + ["allowed"] * len(sound)


# Bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.replace("loan_to_value", "ltv", 1),
            ["missing column loan_to_value"],
        ),
        (lambda t: t.replace("no,0.221,", "no,high,", 1), ["debt_to_income", "'high'"]),
        (lambda t: "", ["raw_data"]),
        (lambda t: t.split("\n")[0] + "\n", ["no rows"]),
        (lambda t: t + t.split("\n")[1] + "\n", ["application_id", "repeat"]),
    ],
    ids=["missing column", "wrong type", "empty", "header only", "repeated key"],
)
def test_bad_raw_data_gets_one_sentence(
    edited: Project, change: Callable[[str], str], words: list[str]
) -> None:
    data = edited.path / "data/01_raw/mortgage_applications.csv"
    data.write_text(change(data.read_text()))
    refused = edited.run("kedro", "run", "--pipelines", "data_processing", check=False)
    assert_refused(refused, *words)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("estimator.class=sklearn.ensemble.Nope", ["sklearn.ensemble.Nope"]),
        ("estimator.class=lightgbm.LGBMClassifier", ["lightgbm", "installed?"]),
        ("estimator.arguments.max_itre=5", ["max_itre"]),
    ],
    ids=["unknown class", "missing package", "unknown argument"],
)
def test_a_wrong_estimator_gets_one_sentence(
    project: Project, parameter: str, words: list[str]
) -> None:
    before = count_runs(project)
    refused = project.run(*TRAINING, "--params", parameter, check=False)
    assert_refused(refused, *words)
    assert count_runs(project) == before


def test_a_port_in_use_gets_one_sentence(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = project.run("kedro", "model", "serve", "--port", port, check=False)
    assert_refused(refused, f"Port {port}", "--port")


@pytest.fixture(scope="module")
def on_a_server(installed_project: Callable[..., Project]) -> Project:
    """A project whose runs belong on a server, which is not named yet."""
    return installed_project(tracking="server")


def test_a_server_that_nobody_named_gets_one_sentence(on_a_server: Project) -> None:
    assert_refused(
        on_a_server.run("kedro", "run", check=False), "MLFLOW_TRACKING_URI", "export"
    )


@pytest.mark.parametrize("silent", [False, True], ids=["nobody listens", "no answer"])
def test_a_dead_server_gets_one_sentence_within_30_seconds(
    on_a_server: Project, silent: bool
) -> None:
    with socket.socket() as listener:
        port = free_port()
        if silent:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
        uri = f"http://127.0.0.1:{port}"
        started = time.monotonic()
        refused = on_a_server.run(
            "kedro", "run", check=False, env={"MLFLOW_TRACKING_URI": uri}
        )
        seconds = time.monotonic() - started
    assert_refused(refused, uri, "does not answer")
    print(f"refused after {seconds:.1f} s")
    assert seconds < 30


def test_without_git_and_lock_file_a_run_works_and_warns(
    worked_project: Worked, tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    assert (
        "No git repository" not in project.run(*TRAINING, "--params", FEW_TREES).stdout
    )
    shutil.rmtree(project.path / ".git")
    (project.path / "uv.lock").unlink()
    versions = len(versions_of(project))
    trained = project.run(*TRAINING, "--params", FEW_TREES)
    assert "No git repository" in trained.stdout
    assert "No uv.lock" in trained.stdout
    assert len(versions_of(project)) == versions + 1
    served = json.loads(
        project.ask(
            "import json, mlflow; print(json.dumps(mlflow.search_runs("
            "search_all_experiments=True)['status'].tolist()))"
        ).splitlines()[-1]
    )
    assert set(served) == {"FINISHED"}
    traced = project.run("kedro", "model", "trace", "challenger", check=False)
    assert "can't get its code back: it ran without a git commit" in traced.stdout
