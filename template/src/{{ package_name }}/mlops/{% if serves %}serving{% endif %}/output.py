"""What a model answered, as lists that can be cut into the parts of a batch."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from starlette.exceptions import HTTPException

from .schema import Values


@dataclass(frozen=True)
class Output:
    """Values by column; a model that returns no frame has one, without a name."""

    columns: dict[str, Values]
    dtypes: list[Any]
    named: bool
    aligned: bool  # one answer per row, in the rows' order

    @classmethod
    def of(cls, answer: Any, rows: int) -> "Output":
        """Convert what ``predict`` returned for a frame of so many rows."""
        frame = answer.to_frame() if isinstance(answer, pd.Series) else answer
        if named := isinstance(frame, pd.DataFrame):
            arrays = {str(n): np.asarray(values) for n, values in frame.items()}
            aligned = frame.index.equals(pd.RangeIndex(rows))
        else:
            arrays = {"predictions": np.atleast_1d(np.asarray(answer))}
            aligned = len(arrays["predictions"]) == rows
        columns = {name: jsonable(array) for name, array in arrays.items()}
        return cls(columns, [a.dtype for a in arrays.values()], named, aligned)

    def part(self, start: int, stop: int) -> "Output":
        """Return the answers to some of the rows."""
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        return replace(self, columns=columns)

    def predictions(self) -> Values:
        """Return the answers as MLflow's protocol has them."""
        if not self.named:
            return self.columns["predictions"]
        rows = zip(*self.columns.values(), strict=True)
        return [dict(zip(self.columns, row, strict=True)) for row in rows]

    def tensors(self, wanted: list[str]) -> list[dict[str, Any]]:
        """Return the answers, or what is wanted of them, in the other protocol."""
        if strange := set(wanted) - self.columns.keys():
            raise HTTPException(400, f"There is no output {strange}.")
        return [
            {"name": n, "shape": np.shape(data), "datatype": datatype(t), "data": data}
            for (n, data), t in zip(self.columns.items(), self.dtypes, strict=True)
            if n in (wanted or self.columns)
        ]


def datatype(dtype: Any) -> str:
    """Return the open inference protocol's name of a type."""
    if dtype.kind in "iuf":
        return str(dtype).upper().replace("FLOAT", "FP")
    return "BOOL" if dtype.kind == "b" else "BYTES"


def jsonable(array: Any) -> Values:
    """Return plain values, null where there is no number."""
    missing = ~np.isfinite(array) if array.dtype.kind == "f" else pd.isna(array)
    if missing.any():
        array = np.where(missing, None, array.astype("object"))
    values: Values = array.tolist()
    return values
