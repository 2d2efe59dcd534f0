"""The signature: checks of what is asked, built once, and what is answered."""

import base64
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import pydantic
from pydantic import BeforeValidator, Field, TypeAdapter
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

Values = list[Any]
ONLY = ""  # the column of a list of plain values, if a model has but one


def iso_date(value: Any) -> Any:
    """Return a date from ISO 8601 text; a number has no unit, so it is none."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def base64_bytes(value: Any) -> Any:
    """Return bytes, from base64 text or as they are."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


TEXT = pd.StringDtype(na_value=np.nan)  # "str", which takes longer to look up
FLOAT32, INT32, INT64 = float(np.finfo("float32").max), 2**31, 2**63
Float32 = Annotated[pydantic.FiniteFloat, Field(ge=-FLOAT32, le=FLOAT32)]
Int64 = Annotated[int, Field(ge=-INT64, lt=INT64)]
Int32 = Annotated[int, Field(ge=-INT32, lt=INT32)]
Nanoseconds = Field(ge=datetime(1678, 1, 1), lt=datetime(2262, 1, 1))
Date = Annotated[pydantic.NaiveDatetime, BeforeValidator(iso_date), Nanoseconds]
Binary = Annotated[bytes, BeforeValidator(base64_bytes)]


class Column(NamedTuple):
    """What values of a type must be, and what they become in a frame and a tensor."""

    type: Any
    dtype: Any
    datatype: str


KINDS = {  # MLflow's types
    "double": Column(pydantic.FiniteFloat, "float64", "FP64"),
    "float": Column(Float32, "float32", "FP32"),
    "long": Column(Int64, "int64", "INT64"),
    "integer": Column(Int32, "int32", "INT32"),
    "boolean": Column(bool, "bool", "BOOL"),
    "string": Column(str, TEXT, "BYTES"),
    "datetime": Column(Date, "datetime64[ns]", "BYTES"),
    "binary": Column(Binary, "object", "BYTES"),
}


def nullable(kind: str) -> Column:
    """Return what an optional column is; a frame's integers can't be null."""
    column = KINDS[kind]
    if kind in ("long", "integer"):
        return column
    dtype = "object" if kind == "boolean" else column.dtype  # True, False and None
    return Column(column.type | None, dtype, column.datatype)


def list_of(value: Any) -> Any:
    """Return the type of lists of a type."""
    return list[value]


def adapter(title: str, members: dict[str, Any], total: bool) -> Any:
    """Return what checks a dictionary; ``total`` says that no member may be missing."""
    make: Any = TypedDict
    return TypeAdapter(make(title, members, total=total))


class Schema:
    """The named columns and the parameters of a signature.

    Raises:
        ValueError: if the inputs are not named columns of simple types.
    """

    def __init__(self, metadata: Any) -> None:
        inputs, params = metadata.get_input_schema(), metadata.get_params_schema()
        if inputs is None or inputs.is_tensor_spec() or not inputs.has_input_names():
            raise ValueError("its signature does not name columns")
        kinds = {i.name: getattr(i.type, "name", str(i.type)) for i in inputs.inputs}
        if strange := set(kinds.values()) - KINDS.keys():
            raise ValueError(f"its signature holds columns of type {strange}")
        self.optional = [one.name for one in inputs.inputs if not one.required]
        self.columns = {
            name: nullable(kind) if name in self.optional else KINDS[kind]
            for name, kind in kinds.items()
        }
        lists = {name: list_of(column.type) for name, column in self.columns.items()}
        self._columns = adapter("Column", lists, total=True)
        outputs = metadata.get_output_schema()
        self._outputs = outputs.inputs if outputs else []
        self.names = {*self.columns, *(o.name or "predictions" for o in self._outputs)}
        self.params, self._defaults = {}, {}
        for spec in params.params if params else []:
            value = KINDS[spec.dtype.name].type
            self.params[spec.name] = list_of(value) if spec.shape else value
            self._defaults[spec.name] = spec.default
        self._params = adapter("Parameter", self.params, total=False)

    def check(self, given: dict[str, Values], rows: int, text: bool) -> list[Values]:
        """Return the signature's columns in its order.

        Args:
            given: The columns of a request; what is optional may be left out.
            rows: Their length.
            text: Whether numbers may be written as text, as in CSV.

        Raises:
            ValidationError: if a column is missing or a value is not what it must be.
        """
        given = dict.fromkeys(self.optional, [None] * rows) | given
        if ONLY in given and len(self.columns) == 1:
            given = dict.fromkeys(self.columns, given[ONLY])
        found = self._columns.validate_python(given, strict=not text)
        return [found[name] for name in self.columns]

    def check_params(self, given: Any) -> dict[str, Any]:
        """Return every inference parameter, from the request or by default."""
        params = self._params.validate_python(given or {}, strict=True)
        found: dict[str, Any] = self._defaults | params
        if found.get("runner") != self._defaults.get("runner"):
            raise HTTPException(400, "Parameter 'runner' is not yours to choose.")
        return found

    def frame(self, columns: list[Values]) -> pd.DataFrame:
        """Return checked columns as the declared types, whatever the rows hold."""
        arrays = {}
        for (name, column), values in zip(self.columns.items(), columns, strict=True):
            make: Any = pd.array if column.dtype is TEXT else np.array
            arrays[name] = make(values, dtype=column.dtype)
        return pd.DataFrame(arrays)

    def tensors(self) -> dict[str, list[dict[str, Any]]]:
        """Return the tensors of the open inference protocol; the rows are open."""
        inputs = {name: column.datatype for name, column in self.columns.items()}
        kinds = {o.name: getattr(o.type, "name", "binary") for o in self._outputs}
        outputs = {n or "predictions": KINDS[k].datatype for n, k in kinds.items()}
        return {
            side: [{"name": n, "datatype": t, "shape": [-1]} for n, t in types.items()]
            for side, types in (("inputs", inputs), ("outputs", outputs))
        }


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
    return list(array.tolist())


def reason_of(error: pydantic.ValidationError) -> str:
    """Return the first thing that is wrong, in one sentence."""
    first = error.errors(include_url=False, include_context=False)[0]
    item = "row" if error.title == "Column" else "item"
    place = ", ".join(
        f"{item} {part + 1}" if isinstance(part, int) else f"'{part}'"
        for part in first["loc"]
    )
    what = f"{error.title} {place}".rstrip()
    if first["type"] == "missing":
        return f"{what} is missing."
    return f"{what}: {first['msg']}, got {show(first['input'])}."


def show(value: Any) -> str:
    """Return a short form of a value, for a message."""
    text = ascii(value) if not isinstance(value, int) else str(value)[:41]
    return text if len(text) <= 40 else f"{text[:37]}..."
