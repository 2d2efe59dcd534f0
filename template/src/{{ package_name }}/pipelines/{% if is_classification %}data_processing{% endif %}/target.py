"""The target of a binary classification."""

import pandas as pd
from kedro.validation import DataValidationError

from .columns import Columns


def read_target(values: pd.Series, columns: Columns, source: str) -> pd.Series:
    """Return 1 where the target is ``columns.positive`` and 0 elsewhere.

    Raises:
        DataValidationError: if a value is missing, or there are not exactly two.
    """
    found = sorted(values.dropna().astype("str").unique())
    if values.isna().any() or len(found) != 2 or columns.positive not in found:
        raise DataValidationError(
            f"{source}: target '{columns.target}' should hold two values, one of them "
            f"'{columns.positive}', and none missing; it holds {', '.join(found[:5])} "
            f"and {int(values.isna().sum())} missing."
        )
    return (values.astype("str") == columns.positive).astype("int64")
