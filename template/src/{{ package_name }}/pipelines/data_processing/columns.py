"""Which columns the data holds, and how a frame is checked against them."""

from typing import Literal, Self

import numpy as np
import pandas as pd
from kedro.validation import DataValidationError
from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["number", "category"]


class Columns(BaseModel):
    """The roles of the raw data's columns (``parameters_data_processing.yml``)."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    key: str
    """Identifies a row; never a feature."""
    target: str
    """What the model predicts."""
    positive: str | None = None
    """Classification: the target's value that counts as 1."""
    features: dict[str, Kind] = Field(min_length=1)
    """What the model may see, and the kind of each."""
    evaluation_only: list[str] = []
    """Carried along for reports by group; the model never sees them."""

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        names = [self.key, self.target, *self.features, *self.evaluation_only]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(repeated)} has more than one role")
        return self


def read_features(frame: pd.DataFrame, columns: Columns, source: str) -> pd.DataFrame:
    """Return the features as float64 and str columns, indexed by the row key.

    Raises:
        DataValidationError: if ``source`` is empty, lacks a column, lacks or repeats
            a key, or holds something else than numbers where numbers are expected.
    """
    require_columns(frame, [columns.key, *columns.features], source)
    keys = frame[columns.key]
    if missing := int(keys.isna().sum()):
        raise DataValidationError(
            f"{source}: {missing} rows hold no value of the key '{columns.key}'."
        )
    if repeated := int(keys.duplicated().sum()):
        raise DataValidationError(
            f"{source}: {repeated} rows repeat a value of the key '{columns.key}'."
        )
    converted = {
        name: _as_kind(frame[name], kind, source)
        for name, kind in columns.features.items()
    }
    return pd.DataFrame(converted).set_axis(pd.Index(keys))


def require_columns(frame: pd.DataFrame, names: list[str], source: str) -> None:
    """Refuse a frame that has no rows or lacks one of the named columns."""
    if missing := [name for name in names if name not in frame.columns]:
        raise DataValidationError(
            f"{source}: missing column {', '.join(missing)}; "
            f"it holds {', '.join(map(str, frame.columns)) or 'none'}."
        )
    if frame.empty:
        raise DataValidationError(f"{source}: holds a header but no rows.")


def _as_kind(values: pd.Series, kind: Kind, source: str) -> pd.Series:
    if kind == "category":
        return values.astype("str").where(values.notna())
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = ~np.isfinite(numbers) & values.notna()
    if wrong.any():
        raise DataValidationError(
            f"{source}: column '{values.name}' should hold numbers, but "
            f"{int(wrong.sum())} of {len(values)} values are something else, "
            f"the first is '{values[wrong].iloc[0]}'."
        )
    return numbers.astype("float64")
