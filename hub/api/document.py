"""The OpenAPI 3.1 document: what FastAPI knows of the routes, and the problems each may answer with."""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hub.api.limits import OPEN_PATHS
from hub.api.problems import MEDIA_TYPE, ProblemDocument

_PROBLEMS = {
    400: "not as documented, or too deep",
    401: "no good key",
    403: "this key may not",
    404: "there is none, or not for this key",
    408: "the body came too slowly",
    409: "not as things stand",
    413: "too large",
    422: "a field is wrong",
    429: "too many; try again later",
    503: "cannot now; try again later",
}


def document(app: FastAPI) -> dict[str, object]:
    """The OpenAPI document of the API."""
    found = cast(
        dict[str, dict[str, dict[str, dict[str, object]]]],
        get_openapi(
            title=app.title,
            version=app.version,
            routes=app.routes,
            description="Devices, readings and commands of a campus.",
        ),
    )
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    model = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= model.pop("$defs", {})
    schemas["Problem"] = model
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _add_problems(operation, is_open=path in OPEN_PATHS)
    return cast(dict[str, object], found)


def _add_problems(operation: dict[str, object], *, is_open: bool) -> None:
    responses = cast(dict[str, object], operation["responses"])
    responses.pop("422", None)
    if is_open:
        operation["security"] = []
        return
    for status, meaning in _PROBLEMS.items():
        responses[str(status)] = {
            "description": meaning,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
