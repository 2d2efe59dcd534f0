"""Score a file of instances with the registry's champion."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from ..data_processing.columns import Columns, read_features


def score(to_score: pd.DataFrame, champion: Any, columns: Columns) -> pd.DataFrame:
    """Return one row per instance: its key, the prediction, the version and the time.

    Args:
        to_score: The row key and every feature; other columns are ignored.
        champion: A model with ``predict(frame) -> frame`` and ``version``.
        columns: The role of each column.
    """
    instances = read_features(to_score, columns, "The file to score")
    predictions = champion.predict(instances)
    return (
        predictions.set_axis(instances.index)
        .assign(
            model_version=champion.version,
            scored_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        .reset_index()
    )
