"""What a start costs: `kedro --help` imports nothing that a bare project does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import start_up

from . import support
from .support import Project

pytestmark = pytest.mark.run
Render = Callable[..., Path]
MODULES_AFTER_HELP = """
import sys
from kedro.framework.cli import main
sys.argv = ["kedro", "--help"]
try:
    main()
except SystemExit:
    pass
print("MODULES", *sys.modules)
"""
GARBAGE_COLLECTION = """
import gc
from importlib.metadata import entry_points
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
for plugin in entry_points(group="kedro.init"):
    plugin.load()()
bootstrap_project(Path.cwd())
at_start = gc.get_threshold()[0], gc.get_freeze_count()
KedroSession.create().load_context()
print(*at_start, gc.get_threshold()[0], gc.get_freeze_count())
"""


def imported_by_help(project: Project) -> set[str]:
    """Return the names of all modules that `kedro --help` imports in a project."""
    output = project.run("python", "-c", MODULES_AFTER_HELP).stdout
    names = set(output.rpartition("MODULES")[2].split())
    # Tables that compiled modules share come and go; the modules themselves stay.
    return {name for name in names if not name.startswith("_cython_")}


@pytest.fixture(scope="module")
def project(installed_project: Callable[..., Project]) -> Project:
    """A default project that this file may edit."""
    return installed_project()


@pytest.fixture(scope="module")
def bare_modules(project: Project, render: Render) -> set[str]:
    """What `kedro --help` imports in a project with kedro-mlflow alone."""
    folder = render()
    start_up.make_bare(folder)
    return imported_by_help(support.install_locked(folder))


def test_help_imports_nothing_but_its_own_modules_beyond_a_bare_project(
    project: Project, bare_modules: set[str]
) -> None:
    assert "mlflow" in bare_modules, "kedro-mlflow was not loaded: nothing is compared."
    extra = imported_by_help(project) - bare_modules
    assert f"{start_up.PACKAGE}.cli" in extra
    assert {name for name in extra if not name.startswith(start_up.PACKAGE)} == set()


def test_a_heavy_import_in_the_commands_would_be_noticed(
    project: Project, bare_modules: set[str]
) -> None:
    commands = project.path / "src" / project.package / "cli.py"
    text = commands.read_text()
    commands.write_text(f"import sklearn\n{text}")
    try:
        assert "sklearn" in imported_by_help(project) - bare_modules
    finally:
        commands.write_text(text)


def test_garbage_is_not_looked_for_among_what_a_start_imports(project: Project) -> None:
    output = project.run("python", "-c", GARBAGE_COLLECTION).stdout
    new_at_start, kept_at_start, new, kept = map(int, output.splitlines()[-1].split())
    assert new_at_start >= 1_000_000, "Garbage is looked for among imports."
    assert new <= 50_000, "Garbage piles up in a process that runs pipelines."
    assert kept - kept_at_start > 100_000, "Every collection looks through the modules."
