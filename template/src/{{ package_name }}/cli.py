"""The project's own commands, loaded only when they are called."""

from typing import Any

from kedro.framework.cli.utils import LazyGroup

cli = LazyGroup(
    name="project",
    lazy_subcommands={
        "run": f"{__package__}.mlops.commands.run",
        "model": f"{__package__}.mlops.commands.model",
    },
)


def __getattr__(name: str) -> Any:
    """Return ``run`` for ``python -m <package>``, which looks it up here."""
    if name != "run":
        raise AttributeError(name)
    from .mlops.commands import run

    return run
