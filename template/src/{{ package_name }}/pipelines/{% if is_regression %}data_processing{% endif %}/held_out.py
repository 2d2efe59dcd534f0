"""Held-out rows, chosen by a cut in time."""

import pandas as pd
from kedro.validation import DataValidationError
from pydantic import BaseModel, ConfigDict, Field

from .columns import require_columns


class HeldOut(BaseModel):
    """Rows from this time on are held out; the cut may only move forward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: list[str] = Field(min_length=1)
    """The time of a row, the longest unit first: a year and a month, or one date."""
    start: list[int | str] = Field(min_length=1)
    """The values of these columns from which on a row is held out."""


def is_held_out(rows: pd.DataFrame, held_out: HeldOut, source: str) -> pd.Series:
    """Return a boolean per row: true from the cut on.

    Raises:
        DataValidationError: if a row has no time, or one that can't be compared.
    """
    require_columns(rows, held_out.columns, source)
    times = rows[held_out.columns]
    try:
        if times.isna().any(axis=None):
            raise TypeError("a value is missing")
        late = [time >= tuple(held_out.start) for time in times.itertuples(index=False)]
    except TypeError as error:
        raise DataValidationError(
            f"{source}: {', '.join(held_out.columns)} can't be compared with "
            f"{held_out.start} ({error})."
        ) from error
    return pd.Series(late, index=rows.index)
