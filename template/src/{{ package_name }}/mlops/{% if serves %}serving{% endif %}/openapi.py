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


def describe(name: str, schema: Schema, routes: Any) -> dict[str, Any]:
    """Return the OpenAPI document of a server of this model."""
    columns = {c.name: TypeAdapter(c.type).json_schema() for c in schema.columns}
    required = [c.name for c in schema.columns if c.required]
    params = {
        "type": "object",
        "properties": {k: one.json_schema() for k, one in schema.params.items()},
    }
    row = {"type": "object", "properties": columns, "required": required}
    rows = {"type": "array", "minItems": 1, "items": row}
    lists = {"columns": {"type": "array"}, "data": {"type": "array"}}
    split = {"type": "object", "properties": lists, "required": ["columns", "data"]}
    forms = {"dataframe_split": split, "dataframe_records": rows, "instances": rows}
    bodies = {
        "invocations": {"oneOf": [one_of(k, v, params) for k, v in forms.items()]},
        "infer": one_of("inputs", {"type": "array", "items": {"type": "object"}}, {}),
    }
    paths: dict[str, dict[str, Any]] = {}
    for pattern, method, operation, content in routes:
        path = re.sub(r"\(\?P<(\w+)>\[\^/\]\+\)", r"{\1}", pattern)
        body = bodies.get(operation)
        paths[path] = {method.lower(): describe_one(path, operation, content, body)}
    return {"openapi": "3.1.0", "info": {"title": name, "version": "1"}, "paths": paths}


def one_of(form: str, data: Any, params: Any) -> dict[str, Any]:
    """Return the schema of an object with this member and parameters."""
    properties = {form: data, "params": params} if params else {form: data}
    return {"type": "object", "properties": properties, "required": [form]}


def describe_one(path: str, operation: str, content: str, body: Any) -> dict[str, Any]:
    """Return one operation: what goes in, and every status that comes out."""
    found: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "-", f"{operation}{path}").strip("-"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", path)
        ],
        "responses": {
            str(status): {
                "description": text,
                "content": {content if status == 200 else "application/json": {}},
            }
            for status, text in STATUSES.items()
        },
    }
    if body:
        kind = "application/json"
        found["requestBody"] = {"required": True, "content": {kind: {"schema": body}}}
    return found
