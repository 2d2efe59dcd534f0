"""Request bodies as columns: MLflow's JSON forms, CSV, Parquet, and tensors."""

import io
import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

from .errors import Refused, show
from .schema import Schema, Values

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
# A column takes tensors of these types, by the start of its own.
TAKES = {
    "FP": ("FP", "INT", "UINT"),
    "IN": ("INT", "UINT"),
    "BO": ("BOOL",),
    "BY": ("BYTES",),
}


@dataclass(frozen=True)
class Instances:
    """What a request asks about: values by column, and inference parameters."""

    columns: dict[str, Values]
    params: Any = None
    text: bool = False  # CSV: numbers are written as text

    def __post_init__(self) -> None:
        if len({len(values) for values in self.columns.values()}) > 1:
            raise Refused(400, "The columns differ in their number of rows.")

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values()), ()))


def parse_json(body: bytes) -> dict[str, Any]:
    """Return a JSON object; NaN, as Python clients write it, is null."""
    try:
        found = json.loads(
            body, object_pairs_hook=without_duplicates, parse_constant={"NaN": None}.get
        )
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise Refused(400, f"The body must be a JSON object, got {show(found)}.")
    return found


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dictionary; refuse a name that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        require_unique([name for name, _ in pairs])
    return found


def require_unique(names: list[Any]) -> None:
    """Refuse names of which one is there twice."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refused(400, f"{show(twice[0])} is there twice.")


def read_invocation(
    body: bytes, content_type: str, schema: Schema, max_rows: int
) -> Instances:
    """Return the instances in a body of MLflow's protocol, by its content type."""
    kind, _, charset = (part.strip().lower() for part in content_type.partition(";"))
    if charset.replace('"', "") not in ("", "charset=utf-8"):
        raise Refused(415, f"Only UTF-8 is read, not {show(charset)}.")
    if kind == "application/json":
        return read_json(parse_json(body), schema)
    import pandas as pd

    try:
        if kind == "text/csv":
            table = pd.read_csv(
                io.BytesIO(body), dtype="object", header=None, index_col=False
            )
            names, table = table.iloc[0].tolist(), table.iloc[1:]
        elif kind == "application/vnd.apache.parquet":
            from pyarrow.parquet import read_metadata

            if read_metadata(io.BytesIO(body)).num_rows > max_rows:
                raise Refused(413, f"A request holds 1 to {max_rows} rows.")
            table = pd.read_parquet(io.BytesIO(body), engine="pyarrow")
            names = table.columns.tolist()
        else:
            types = "application/json, text/csv or application/vnd.apache.parquet"
            raise Refused(415, f"Content-Type must be {types}, not {show(kind)}.")
    except (ValueError, OSError, IndexError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Refused(400, f"The body is not valid {kind}: {reason}.") from error
    require_unique(names)
    table = table.astype("object").where(table.notna(), None)
    columns = {str(name): table.iloc[:, i].tolist() for i, name in enumerate(names)}
    return Instances(columns, text=kind == "text/csv")


def read_json(body: dict[str, Any], schema: Schema) -> Instances:
    """Return the instances of one of MLflow's four JSON forms."""
    forms = [form for form in FORMS if form in body]
    if len(forms) != 1:
        raise Refused(400, f"The body must hold exactly one of {', '.join(FORMS)}.")
    form, params = forms[0], body.get("params")
    data = body[form]
    if form == "dataframe_split":
        return Instances(split(data), params)
    if isinstance(data, dict) and form == "inputs":
        columns = {k: v if isinstance(v, list) else [v] for k, v in data.items()}
        return Instances(columns, params)
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        names = dict.fromkeys(chain.from_iterable(data))
        return Instances({n: [row.get(n) for row in data] for n in names}, params)
    if len(schema.columns) == 1 and form != "dataframe_records":
        values = data if isinstance(data, list) else [data]
        return Instances({schema.columns[0].name: values}, params)
    raise Refused(400, f"{form}: expects a list of objects, got {show(data)}.")


def split(data: Any) -> dict[str, Values]:
    """Return columns from their names and rows; the index is not part of a request."""
    given = data if isinstance(data, dict) else {}
    names, rows = given.get("columns"), given.get("data")
    if not (isinstance(names, list) and isinstance(rows, list)):
        raise Refused(400, "dataframe_split: expects lists 'columns' and 'data'.")
    if not all(isinstance(name, str) for name in names):
        raise Refused(400, "dataframe_split: expects strings in 'columns'.")
    require_unique(names)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(names):
            reason = f"row {number} should hold {len(names)} values, got {show(row)}."
            raise Refused(400, f"dataframe_split: {reason}")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=False))


def read_tensors(body: dict[str, Any], schema: Schema) -> Instances:
    """Return the instances of the open inference protocol: one tensor per column."""
    tensors = body.get("inputs")
    if not isinstance(tensors, list) or not all(isinstance(t, dict) for t in tensors):
        raise Refused(400, "inputs: expects a list of tensors.")
    if not isinstance(body.get("id", ""), str):
        raise Refused(400, f"id: expects a string, got {show(body['id'])}.")
    declared = {column.name: column.datatype for column in schema.columns}
    require_unique([tensor.get("name") for tensor in tensors])
    columns: dict[str, Values] = {}
    for tensor in tensors:
        name, datatype, size, data = map(
            tensor.get, ("name", "datatype", "shape", "data")
        )
        if not isinstance(name, str) or not isinstance(data, list):
            raise Refused(400, f"Input {show(name)}: expects a name and a list 'data'.")
        if data and all(isinstance(item, list) for item in data):
            data = list(chain.from_iterable(data))
        if size not in ([len(data)], [len(data), 1]) or any(n is True for n in size):
            expected = f"[{len(data)}] or [{len(data)}, 1], as 'data'"
            raise Refused(400, f"Input '{name}': shape should be {expected}.")
        takes = TAKES[declared[name][:2]] if name in declared else ("",)
        if not isinstance(datatype, str) or not datatype.startswith(takes):
            reason = f"expects {declared.get(name, 'a type')}, got {show(datatype)}"
            raise Refused(400, f"Column '{name}': {reason}.")
        columns[name] = data
    return Instances(columns, body.get("parameters"))
