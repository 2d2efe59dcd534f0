"""What Kedro and MLflow warn of on every run, whatever the project does."""

import logging

KNOWN = (
    "register_new_resolver()",  # OmegaConf, of Kedro's configuration loader
    "Add type hints to the `predict` method",  # MLflow, of kedro-mlflow's model
    "dataset source can be interpreted in multiple ways",  # MLflow, of any file
    "Inferred schema contains integer column",  # MLflow, of input data sets
)


def ignore_known_warnings() -> None:
    """Keep these warnings, and no others, out of Kedro's log.

    An entry point calls it before plugins load. Kedro sends warnings to its log;
    a filter of the warnings module would be undone by MLflow.
    """
    logging.getLogger("py.warnings").addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """Tell whether a logged warning is none of the known ones."""
    return not any(known in record.getMessage() for known in KNOWN)
