"""The OpenAPI description, with the columns of the model that serves."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from .versions import Served

HERE = Path(__file__).parent
PAGE = (HERE / "openapi.html").read_text("utf-8")  # for people


def types(named: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Return the schema of an object with these members."""
    found = {name: TypeAdapter(one).json_schema() for name, one in named.items()}
    return {"type": "object", "properties": found, "required": required}


def describe(name: str, served: Served) -> dict[str, Any]:
    """Return openapi.yaml with the names and types of a served model."""
    text = (HERE / "openapi.yaml").read_text("utf-8").replace("NAME", name)
    found: dict[str, Any] = yaml.safe_load(text.replace("VERSION", served.version))
    schema, columns = served.schema, served.schema.columns
    required = [one for one in columns if one not in schema.optional]
    found["components"]["schemas"] |= {
        "row": types({name: one.type for name, one in columns.items()}, required),
        "params": types(schema.params, []),
        "column": {"enum": list(columns)},
        "datatype": {"enum": sorted({one.datatype for one in columns.values()})},
    }
    return found
