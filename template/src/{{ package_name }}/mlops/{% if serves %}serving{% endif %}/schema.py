"""Checks of a request's columns and parameters, built once from the signature."""

import base64
from datetime import datetime
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    NaiveDatetime,
    TypeAdapter,
    ValidationError,
)

from .errors import Refused, show

Values = list[Any]


def iso_date(value: Any) -> Any:
    """Return a date from ISO 8601 text; a number has no unit, so it is none."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def base64_bytes(value: Any) -> Any:
    """Return bytes, from base64 text or as they are."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def whole(bits: int) -> Any:
    """Return the type of integers of so many bits."""
    return Annotated[int, Field(ge=-(2 ** (bits - 1)), le=2 ** (bits - 1) - 1)]


FLOAT32, NANOSECONDS = (
    float(np.finfo("float32").max),
    (datetime(1678, 1, 1), datetime(2262, 1, 1)),
)
# By MLflow's type: what a value must be, the frame's type, the tensor's type.
KINDS: dict[str, tuple[Any, str, str]] = {
    "double": (FiniteFloat, "float64", "FP64"),
    "float": (
        Annotated[FiniteFloat, Field(ge=-FLOAT32, le=FLOAT32)],
        "float32",
        "FP32",
    ),
    "long": (whole(64), "int64", "INT64"),
    "integer": (whole(32), "int32", "INT32"),
    "boolean": (bool, "bool", "BOOL"),
    "string": (str, "str", "BYTES"),
    "datetime": (
        Annotated[
            NaiveDatetime,
            BeforeValidator(iso_date),
            Field(ge=NANOSECONDS[0], lt=NANOSECONDS[1]),
        ],
        "datetime64[ns]",
        "BYTES",
    ),
    "binary": (Annotated[bytes, BeforeValidator(base64_bytes)], "object", "BYTES"),
}

ANY = (Any, "object", "BYTES")


class Column:
    """A column of the signature: what its values must be, and become."""

    def __init__(self, name: str, kind: str, required: bool) -> None:
        self.name, self.kind, self.required = name, kind, required
        value, self.dtype, self.datatype = KINDS[kind]
        if kind == "boolean" and not required:
            self.dtype = "object"  # True, False and None, whatever the rows hold
        # No integer type of a frame's holds a null.
        self.nullable = not required and kind not in ("long", "integer")
        self.type: Any = value | None if self.nullable else value
        self._values: Any = TypeAdapter(list[self.type])  # type: ignore[name-defined]

    def check(self, values: Values, text: bool) -> Values:
        """Return the values, refused where one is not what it must be.

        Args:
            values: One per row.
            text: Whether numbers may be written as text, as in CSV.
        """
        try:
            return self._values.validate_python(values, strict=not text)
        except ValidationError as error:
            raise refusal(f"Column '{self.name}'", error) from error

    def array(self, values: Values) -> Any:
        """Return checked values as the declared type, whatever the neighbours hold."""
        if self.kind == "string":
            return pd.array(values, dtype="str")
        return np.array(values, dtype=self.dtype)


class Schema:
    """The named columns and the parameters of a signature.

    Raises:
        ValueError: if the inputs are not named columns of simple types.
    """

    def __init__(self, metadata: Any) -> None:
        inputs, params = metadata.get_input_schema(), metadata.get_params_schema()
        if inputs is None or inputs.is_tensor_spec() or not inputs.has_input_names():
            raise ValueError("its signature does not name columns")
        kinds = [getattr(spec.type, "name", str(spec.type)) for spec in inputs.inputs]
        if strange := set(kinds) - KINDS.keys():
            raise ValueError(f"its signature holds columns of type {strange}")
        self.columns = [
            Column(spec.name, kind, bool(spec.required))
            for spec, kind in zip(inputs.inputs, kinds, strict=True)
        ]
        self.names = {column.name for column in self.columns}
        outputs = metadata.get_output_schema()
        self._outputs = outputs.inputs if outputs else []
        self._defaults, self.params = {}, {}
        for spec in params.params if params else []:
            value: Any = KINDS[spec.dtype.name][0]
            many = list[value]  # type: ignore[valid-type]
            self._defaults[spec.name] = spec.default
            self.params[spec.name] = TypeAdapter(many if spec.shape else value)

    def check(self, given: dict[str, Values], rows: int, text: bool) -> list[Values]:
        """Return the signature's columns in its order, each checked."""
        found = []
        for column in self.columns:
            values = given.get(column.name)
            if values is None:
                if column.required:
                    raise Refused(400, f"Column '{column.name}' is missing.")
                values = [None] * rows
            found.append(column.check(values, text))
        return found

    def check_params(self, given: Any) -> dict[str, Any]:
        """Return every inference parameter, from the request or by default."""
        if not given:
            return self._defaults
        if not isinstance(given, dict):
            raise Refused(400, f"params: expects an object, got {show(given)}.")
        params = dict(self._defaults)
        for name in given.keys() & params.keys():
            if name == "runner" and given[name] != params[name]:
                raise Refused(400, "Parameter 'runner' is not a request's to choose.")
            try:
                params[name] = self.params[name].validate_python(
                    given[name], strict=True
                )
            except ValidationError as error:
                raise refusal(f"Parameter '{name}'", error) from error
        return params

    def tensors(self) -> dict[str, list[dict[str, Any]]]:
        """Return the tensors of the open inference protocol; the rows are open."""
        inputs = [(column.name, column.datatype) for column in self.columns]
        kinds = [(o.name, getattr(o.type, "name", "")) for o in self._outputs]
        outputs = [(n or "predictions", KINDS.get(k, ANY)[2]) for n, k in kinds]
        return {
            side: [{"name": n, "datatype": t, "shape": [-1]} for n, t in tensors]
            for side, tensors in (("inputs", inputs), ("outputs", outputs))
        }

    def frame(self, columns: list[Values]) -> pd.DataFrame:
        """Return checked columns as a frame of the declared types."""
        pairs = zip(self.columns, columns, strict=True)
        return pd.DataFrame({c.name: c.array(values) for c, values in pairs})


def refusal(what: str, error: ValidationError) -> Refused:
    """Return the first thing that is wrong, in one sentence."""
    first = error.errors(include_url=False, include_context=False)[0]
    row = f", row {int(first['loc'][0]) + 1}" if first["loc"] else ""
    reason = f"{what}{row}: {first['msg']}, got {show(first['input'])}."
    return Refused(400, reason)
