"""From one raw file to instances, labels and evaluation-only columns."""

import pandas as pd
from kedro.validation import DataValidationError

from .columns import Columns, read_features, require_columns
from .held_out import HeldOut, is_held_out
from .target import read_target


def separate_columns(
    raw: pd.DataFrame, columns: Columns, held_out: HeldOut
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Validate the raw data, choose the held-out rows and separate the columns.

    Args:
        raw: One row per instance.
        columns: The role of each column.
        held_out: Which rows no model is ever fitted on.

    Returns:
        Four frames indexed by the row key: instances (features only), labels (the
        target, and ``held_out`` as a boolean), evaluation-only columns, and the
        held-out instances as a first file to score.
    """
    source = "The raw data"
    required = [columns.key, columns.target, *columns.evaluation_only]
    require_columns(raw, required, source)
    instances = read_features(raw, columns, source)
    rows = raw.set_index(columns.key)
    labels = pd.DataFrame(
        {
            columns.target: read_target(rows[columns.target], columns, source),
            "held_out": is_held_out(rows, held_out, source),
        }
    )
    if labels["held_out"].nunique() < 2:
        raise DataValidationError(
            f"{source}: {int(labels['held_out'].sum())} of {len(labels)} rows are held "
            "out; some have to be and some not, so change the parameter 'held_out'."
        )
    evaluation_columns = rows[columns.evaluation_only]
    return instances, labels, evaluation_columns, instances[labels["held_out"]]
