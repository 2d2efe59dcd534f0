"""What a model answered, as lists that can be cut into the parts of a batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .errors import Refused, show

DATATYPES = {"b": "BOOL", "f": "FP", "i": "INT", "u": "UINT"}


@dataclass(frozen=True)
class Output:
    """One list per column; a model that returns no frame has one column, unnamed."""

    names: list[str] | None
    columns: list[list[Any]]
    datatypes: list[str]
    aligned: bool  # one answer per row, in the rows' order

    @classmethod
    def of(cls, answer: Any, rows: int) -> "Output":
        """Convert what ``predict`` returned for a frame of so many rows."""
        frame = answer.to_frame() if isinstance(answer, pd.Series) else answer
        if isinstance(frame, pd.DataFrame):
            names = [str(name) for name in frame.columns]
            arrays = [np.asarray(frame.iloc[:, i]) for i in range(len(names))]
            aligned = frame.index.equals(pd.RangeIndex(rows))
        else:
            names, arrays = None, [np.atleast_1d(np.asarray(answer))]
            aligned = len(arrays[0]) == rows
        types = [DATATYPES.get(array.dtype.kind, "BYTES") for array in arrays]
        sizes = [array.dtype.itemsize * 8 for array in arrays]
        datatypes = [
            t if t[0] == "B" else f"{t}{size}"
            for t, size in zip(types, sizes, strict=True)
        ]
        return cls(names, [jsonable(array) for array in arrays], datatypes, aligned)

    def part(self, start: int, stop: int) -> "Output":
        """Return the answers to some of the rows."""
        columns = [column[start:stop] for column in self.columns]
        return Output(self.names, columns, self.datatypes, self.aligned)

    def predictions(self) -> list[Any]:
        """Return the answers as MLflow's protocol has them."""
        if self.names is None:
            return self.columns[0]
        return [dict(zip(self.names, row)) for row in zip(*self.columns)]  # noqa: B905

    def tensors(self, asked: Any) -> list[dict[str, Any]]:
        """Return the answers as the open inference protocol has them."""
        names = self.names or ["predictions"]
        tensors = {
            name: {
                "name": name,
                "shape": np.shape(data),
                "datatype": datatype,
                "data": data,
            }
            for name, data, datatype in zip(
                names, self.columns, self.datatypes, strict=True
            )
        }
        try:
            wanted = [one["name"] for one in asked] if asked else names
            return [tensors[name] for name in wanted]
        except (TypeError, KeyError) as error:
            reason = f"outputs: expects objects with a name of {names}"
            raise Refused(400, f"{reason}, got {show(asked)}.") from error


def jsonable(array: Any) -> list[Any]:
    """Return plain values, null where there is no number."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        missing, array = ~np.isfinite(array), array.astype("object")
        array[missing] = None
    values: list[Any] = array.tolist()
    if array.dtype.kind in "iubf":
        return values
    return [
        None if value is None or pd.isna(value) is True else value for value in values
    ]
