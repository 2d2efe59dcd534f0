"""Two versions side by side: the candidate, and the champion that it has to beat."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from ..errors import BlueprintError
from ..registry import no_alias, version_of
from .records import version_at

SEEN = "evaluation/training_rows.npy"


@dataclass(frozen=True)
class Contender:
    """A loaded version that answers with its own code, from columns of its own."""

    version: str
    predict: Callable[..., Any]
    features: dict[str, str]
    """Its columns: ``number`` or ``category``."""
    seen: Any
    """The fingerprints of the rows that it was fitted on."""

    def has_seen(self, keys: pd.Index) -> Any:
        """Return a boolean per row key: true where it was fitted on that row."""
        return np.isin(fingerprints(keys), self.seen)


class ContendersDataset(AbstractDataset[Any, dict[str, Contender]]):
    """Loads ``candidate`` and, if it is another version, ``champion``."""

    def __init__(self, name: str, candidate: str | None = None) -> None:
        self.name, self.candidate = name, candidate

    def load(self) -> dict[str, Contender]:
        """Return the named version (or the challenger) and the champion."""
        champion = version_of(self.name, "champion")
        candidate = str(self.candidate or candidate_of(self.name))
        found = {"candidate": load(self.name, candidate)}
        if champion not in (None, candidate):
            found["champion"] = load(self.name, str(champion))
        return found

    def save(self, data: Any) -> None:
        """Refuse: versions are registered by training."""
        raise DatasetError(f"{self.name} is written by training, not by a node.")

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "candidate": self.candidate}


def candidate_of(name: str) -> str:
    """Return the challenger, or the champion if there is none."""
    found = version_of(name, "challenger") or version_of(name, "champion")
    if found is None:
        raise BlueprintError(no_alias(name, "challenger"))
    return found


def load(name: str, version: str) -> Contender:
    """Load a version, and what it was fitted on."""
    from ..migration.schema import load_logged

    run_id = version_at(name, version).run_id
    try:
        file = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{SEEN}")
    except (OSError, mlflow.MlflowException) as error:
        raise BlueprintError(
            f"Version {version} does not say which rows it was fitted on: its run has "
            f"no {SEEN}, so it can't be judged; train it again."
        ) from error
    model = load_logged(f"models:/{name}/{version}")
    features = {
        column.name: "category" if column.type.name == "string" else "number"
        for column in model.metadata.get_input_schema().inputs
    }
    return Contender(version, model.predict, features, np.load(file))


def fingerprints(keys: pd.Index) -> Any:
    """Return a 64-bit hash of each row key."""
    text = keys.astype("str").to_series().astype("object")
    return pd.util.hash_pandas_object(text, index=False).to_numpy()


def log_training_rows(run_id: str, labels: pd.DataFrame) -> None:
    """Keep the fingerprints of the rows that a run's model is fitted on."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, Path(SEEN).name)
        np.save(file, np.sort(fingerprints(labels.index[~labels["held_out"]])))
        mlflow.MlflowClient().log_artifact(run_id, str(file), Path(SEEN).parts[0])
