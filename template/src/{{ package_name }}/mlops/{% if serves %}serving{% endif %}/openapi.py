"""The OpenAPI description, with the columns of the model that serves."""

import re
from typing import Any

from pydantic import TypeAdapter

from .schema import Schema

# The page loads Swagger UI from a public network; /openapi.json needs none.
UI = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui"
DOCS_PAGE = f"""<!doctype html><title>API</title><div id="ui"></div>
<link rel="stylesheet" href="{UI}.css"><script src="{UI}-bundle.js"></script>
<script>SwaggerUIBundle({{url: "openapi.json", dom_id: "#ui"}})</script>"""
STATUSES = {
    200: "The answer",
    400: "The request is wrong; the message says where",
    401: "A valid token is needed",
    404: "Not served here",
    408: "The body came too slowly",
    413: "Too many bytes or rows",
    415: "A content type that is not read",
    429: "Too many requests wait",
    503: "Not ready",
    504: "No answer in time",
}


def describe(name: str, version: str, schema: Schema, routes: Any) -> dict[str, Any]:
    """Return the OpenAPI document of a server of this model."""
    values = {c.name: TypeAdapter(c.type).json_schema() for c in schema.columns}
    row = members({c.name: values[c.name] for c in schema.columns})
    row["required"] = [c.name for c in schema.columns if c.required]
    rows = {"type": "array", "minItems": 1, "items": row}
    named = {"type": "array", "items": {"enum": list(values)}}
    lines = {"type": "array", "items": {"type": "array"}}
    split = members({"columns": named, "data": lines})
    forms = {"dataframe_split": split, "dataframe_records": rows, "instances": rows}
    params = {k: one.json_schema() for k, one in schema.params.items()}
    given = {"type": "object", "properties": params}
    datatypes = sorted({c.datatype for c in schema.columns})
    tensor = {
        "name": {"enum": list(values)},
        "datatype": {"enum": datatypes},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array"},
    }
    inputs = {"type": "array", "items": members(tensor)}
    bodies = {
        "invocations": {
            "oneOf": [members({k: v}, params=given) for k, v in forms.items()]
        },
        "infer": members({"inputs": inputs}, parameters=given, id={"type": "string"}),
    }
    known = {"name": name, "version": version}
    paths: dict[str, dict[str, Any]] = {}
    for pattern, method, operation, content in routes:
        path = re.sub(r"\(\?P<(\w+)>\[\^/\]\+\)", r"{\1}", pattern)
        found: dict[str, Any] = {
            "operationId": re.sub(r"\W+", "-", f"{operation}{path}").strip("-"),
            "parameters": [
                {"name": k, "in": "path", "required": True, "schema": {"const": v}}
                for k, v in known.items()
                if f"{{{k}}}" in path
            ],
            "responses": {
                str(k): answer(k, text, content) for k, text in STATUSES.items()
            },
        }
        if operation in bodies:
            body = {"application/json": {"schema": bodies[operation]}}
            found["requestBody"] = {"required": True, "content": body}
        paths[path] = {method.lower(): found}
    return {"openapi": "3.1.0", "info": {"title": name, "version": "1"}, "paths": paths}


def members(required: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return the schema of an object with these members."""
    properties = required | others
    return {"type": "object", "properties": properties, "required": list(required)}


def answer(status: int, text: str, content: str) -> dict[str, Any]:
    """Return the description of a response; every refusal is JSON."""
    kind = content if status == 200 else "application/json"
    return {"description": text, "content": {kind: {}}}
