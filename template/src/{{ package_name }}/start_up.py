"""What entry points set before plugins load: fewer collections, fewer warnings."""

import atexit
import gc
import logging

from kedro.framework.hooks import hook_impl

# After so many, garbage is looked for: while modules are imported, and from then on.
NEW_OBJECTS_AT_START, NEW_OBJECTS = 1_000_000, 20_000
# What Kedro and MLflow warn of on every run, whatever the project does.
KNOWN_WARNINGS = (
    "register_new_resolver()",  # OmegaConf, of Kedro's configuration loader
    "Add type hints to the `predict` method",  # MLflow, of kedro-mlflow's model
    "dataset source can be interpreted in multiple ways",  # MLflow, of any file
    "Inferred schema contains integer column",  # MLflow, of input data sets
)


def collect_garbage_less() -> None:
    """Look for garbage less often, and at the process's end once instead of repeatedly.

    Imports make a million objects, and all of them stay.
    """
    gc.set_threshold(NEW_OBJECTS_AT_START)
    # What is frozen is not looked through any more.
    atexit.register(gc.freeze)
    atexit.register(gc.collect)


class StartUpHooks:
    """Ends the start: what was made so far stays, and is never looked through."""

    @hook_impl
    def after_context_created(self) -> None:
        """Look for garbage as often as a run needs."""
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS)


def ignore_known_warnings() -> None:
    """Keep the known warnings, and no others, out of Kedro's log.

    Kedro sends warnings to its log; a filter of the warnings module would be undone
    by MLflow.
    """
    logging.getLogger("py.warnings").addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """Tell whether a logged warning is none of the known ones."""
    return not any(known in record.getMessage() for known in KNOWN_WARNINGS)
