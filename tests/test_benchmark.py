"""`make bench`: the server against others; too long for `make test`."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from .support import ROOT, Project, run

pytestmark = [
    pytest.mark.run,
    pytest.mark.skipif("BENCH" not in os.environ, reason="`make bench` runs it"),
]


def test_the_server_is_as_fast_as_promised(
    worked_project: Callable[..., Project], capfd: pytest.CaptureFixture[str]
) -> None:
    project = worked_project()
    script = ROOT / "benchmarks" / "serving.py"
    with capfd.disabled():
        done = subprocess.run([sys.executable, script, project.path])
    assert not done.returncode, "A ratio is below its floor."


def test_bulk_scoring_costs_no_more_than_the_fitted_objects(
    worked_project: Callable[..., Project], capfd: pytest.CaptureFixture[str]
) -> None:
    project = worked_project()
    done = run(
        *(project.python, ROOT / "benchmarks" / "bulk.py", project.package),
        cwd=project.path,
        check=False,
        env=project.environment(MLFLOW_TRACKING_URI=project.store),
    )
    with capfd.disabled():
        print(done.stdout)
    assert not done.returncode, done.stderr[-2000:]
