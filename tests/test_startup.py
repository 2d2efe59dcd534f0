"""What `kedro --help` imports: nothing that a bare kedro-mlflow project does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import start_up

from . import support
from .support import Project

pytestmark = pytest.mark.run
Render = Callable[..., Path]
# Standard library and Kedro only, a few milliseconds together.
OWN_LIGHT_MODULES = {
    f"{start_up.PACKAGE}.cli",
    f"{start_up.PACKAGE}.mlops",
    f"{start_up.PACKAGE}.mlops.errors",
    f"{start_up.PACKAGE}.mlops.guard",
    f"{start_up.PACKAGE}.mlops.packaging",
    f"{start_up.PACKAGE}.mlops.stores",
    f"{start_up.PACKAGE}.mlops.tracking",
    f"{start_up.PACKAGE}.progress",
    f"{start_up.PACKAGE}.start_up",
}
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
    return imported_by_help(support.install(folder, project.bare_python))


def test_help_imports_only_light_modules_of_its_own_beyond_a_bare_project(
    project: Project, bare_modules: set[str]
) -> None:
    assert "mlflow" in bare_modules, "kedro-mlflow was not loaded: nothing is compared."
    assert imported_by_help(project) - bare_modules == OWN_LIGHT_MODULES


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
