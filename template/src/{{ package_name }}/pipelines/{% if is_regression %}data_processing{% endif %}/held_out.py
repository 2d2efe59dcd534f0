"""Held-out rows, chosen by a cut in time."""

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field


class HeldOut(BaseModel):
    """Rows of this month and later are held out; the cut may only move forward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    year_column: str
    month_column: str
    year: int
    month: int = Field(ge=1, le=12)


def is_held_out(rows: pd.DataFrame, held_out: HeldOut) -> pd.Series:
    """Return a boolean per row: true from the cut's month on."""
    months = rows[held_out.year_column] * 12 + rows[held_out.month_column]
    return months >= held_out.year * 12 + held_out.month
