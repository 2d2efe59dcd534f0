"""Request bodies as columns: MLflow's JSON forms, CSV, Parquet, and tensors."""

import csv
import io
import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException

from .schema import ONLY, Values, show

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"


class Split(BaseModel, title="dataframe_split"):
    """Names and rows; the index is not part of a request."""

    columns: list[str]
    data: list[Values]


class Named(BaseModel):
    """An output that is asked for."""

    name: str


class Tensor(Named):
    """A column, in the open inference protocol."""

    datatype: str
    shape: list[int]
    data: Values


class Inference(BaseModel, title="Body"):
    """A request of the open inference protocol."""

    id: str | None = None
    inputs: list[Tensor]
    outputs: list[Named] | None = None
    parameters: Any = None


@dataclass(frozen=True)
class Instances:
    """What a request asks about: values by column, and inference parameters."""

    columns: dict[str, Values]
    params: Any = None
    text: bool = False  # CSV: numbers are written as text

    def rows(self, most: int) -> int:
        """Return the number of rows, refused if columns differ or there are more."""
        found = {len(values) for values in self.columns.values()} or {0}
        if len(found) > 1:
            raise HTTPException(400, "The columns differ in their number of rows.")
        return limited(found.pop(), most)


def limited(rows: int, most: int) -> int:
    """Return a number of rows; refuse none, and too many."""
    if not 0 < rows <= most:
        status = 413 if rows else 400
        raise HTTPException(status, f"A request holds 1 to {most} rows.")
    return rows


def unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return pairs as a dictionary; refuse a name that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise HTTPException(400, f"{show(twice)} is there twice.")
    return found


def parse_json(body: bytes) -> dict[str, Any]:
    """Return a JSON object; NaN, as Python clients write it, is null."""
    nan = {"NaN": None}.get
    try:
        found = json.loads(body, object_pairs_hook=unique, parse_constant=nan)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise HTTPException(400, f"The body must be an object, got {show(found)}.")
    return found


def read_invocation(body: bytes, kind: str, most: int) -> Instances:
    """Return the instances in a body of MLflow's protocol, by its content type."""
    if kind == JSON:
        return read_json(parse_json(body))
    try:
        return read_csv(body) if kind == CSV else read_parquet(body, most)
    except (ValueError, OSError, csv.Error) as error:
        reason = " ".join(str(error).split())[:200]
        raise HTTPException(400, f"The body is not valid {kind}: {reason}.") from error


def read_csv(body: bytes) -> Instances:
    """Return the instances in CSV with a header; an empty field is null."""
    lines = csv.reader(io.StringIO(body.decode(), newline=""), strict=True)
    names, *rows = filter(None, lines)
    values = [[value or None for value in row] for row in rows]
    return Instances(split({"columns": names, "data": values}), text=True)


def read_parquet(body: bytes, max_rows: int) -> Instances:
    """Return the instances in a Parquet file, unless it unfolds into too many."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(io.BytesIO(body)) as file:
        limited(file.metadata.num_rows, max_rows)
        table = file.read()
    columns = zip(table.column_names, (c.to_pylist() for c in table), strict=True)
    return Instances(unique(list(columns)))


def read_json(body: dict[str, Any]) -> Instances:
    """Return the instances of one of MLflow's four JSON forms."""
    forms = [form for form in FORMS if form in body]
    if len(forms) != 1:
        raise HTTPException(400, f"Send exactly one of {', '.join(FORMS)}.")
    form, data, params = forms[0], body[forms[0]], body.get("params")
    if form == "dataframe_split":
        return Instances(split(data), params)
    if isinstance(data, dict) and form == "inputs":
        columns = {k: v if isinstance(v, list) else [v] for k, v in data.items()}
        return Instances(columns, params)
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        names = dict.fromkeys(chain.from_iterable(data))
        return Instances({n: [row.get(n) for row in data] for n in names}, params)
    if isinstance(data, list) and form != "dataframe_records":
        return Instances({ONLY: data}, params)
    raise HTTPException(400, f"{form}: expects a list of objects, got {show(data)}.")


def split(data: Any) -> dict[str, Values]:
    """Return columns from their names and rows."""
    given = Split.model_validate(data, strict=True)
    size = len(given.columns)
    for number, row in enumerate(given.data, 1):
        if len(row) != size:
            reason = f"Row {number} should hold {size} values, got {len(row)}."
            raise HTTPException(400, reason)
    columns = map(list, zip(*given.data, strict=True))
    return unique(list(zip(given.columns, columns, strict=False)))


def read_tensors(asked: Inference) -> Instances:
    """Return the instances of the open inference protocol: one tensor per column.

    What counts is the type of the data, not the one that the client names.
    """
    columns = []
    for tensor in asked.inputs:
        data = tensor.data
        if data and all(isinstance(item, list) for item in data):
            data = list(chain.from_iterable(data))
        if tensor.shape not in ([len(data)], [len(data), 1]):
            expected = f"[{len(data)}] or [{len(data)}, 1], got {tensor.shape}"
            raise HTTPException(400, f"Input '{tensor.name}': shape is {expected}.")
        columns.append((tensor.name, data))
    return Instances(unique(columns), asked.parameters)
