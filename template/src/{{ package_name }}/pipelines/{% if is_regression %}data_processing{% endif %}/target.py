"""The target of a regression."""

import numpy as np
import pandas as pd
from kedro.validation import DataValidationError

from .columns import Columns


def read_target(values: pd.Series, columns: Columns, source: str) -> pd.Series:
    """Return the target as float64.

    Raises:
        DataValidationError: if a value is missing or not a number, or all are the same.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = ~np.isfinite(numbers)
    if wrong.any() or numbers.nunique() < 2:
        raise DataValidationError(
            f"{source}: target '{columns.target}' should hold a number in every row, "
            f"not always the same; {int(wrong.sum())} of {len(values)} hold none."
        )
    return numbers.astype("float64")
