"""`describe_api`: the OpenAPI document of a reward server, from its protocols' models."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from music.serving.protocols import ScoringProtocol
from music.version import __version__

__all__ = ["PAGES", "ReloadRequest", "ReloadResponse", "describe_api"]

PAGES = {
    "/health": "Whether the process lives.",
    "/ready": "Whether it answers requests for scores.",
    "/contract": "What the scores depend on.",
    "/v1/models": "The model's name, as OpenAI's clients read it.",
    "/metrics": "Counts and times in Prometheus' text format.",
    "/openapi.json": "This document.",
}
_REFUSALS = {
    "400": "The request is not valid.",
    "401": "The key is missing or wrong.",
    "403": "The request is not allowed.",
    "408": "The client sent its request too slowly.",
    "413": "The request is too large.",
    "422": "A checkpoint cannot be loaded.",
    "429": "Too many conversations wait; see the header Retry-After.",
    "500": "The server has a bug.",
    "503": "The server ends, or the model failed.",
}


class ReloadRequest(BaseModel):
    """Which checkpoint to load."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    model: str | None = None
    """The checkpoint's folder; by default that of the model which is served now."""


class ReloadResponse(BaseModel):
    """The model that is served now."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    """Its name."""
    fingerprint: str
    """Hash of what its scores depend on."""


def describe_api(protocols: Iterable[ScoringProtocol]) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document."""
    posts = [(each.path, each.summary, each.request, each.response) for each in protocols]
    posts.append(("/v1/reload", "Load a checkpoint, and serve it instead.", ReloadRequest, ReloadResponse))
    schemas, definitions = _schemas([(path, request, response) for path, _, request, response in posts])
    paths: dict[str, Any] = {
        path: {"post": _post(summary, schemas[path, "validation"], schemas[path, "serialization"])}
        for path, summary, _, _ in posts
    }
    paths |= {path: {"get": _get(path, summary)} for path, summary in PAGES.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Reward model", "version": __version__},
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(models: Sequence[tuple[str, Any, Any]]) -> tuple[dict[tuple[str, JsonSchemaMode], Any], dict[str, Any]]:
    """Return the schemas of requests and responses by path and mode, and those that they refer to."""
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for path, request, response in models:
        inputs += [(path, "validation", TypeAdapter(request)), (path, "serialization", TypeAdapter(response))]
    schemas, rest = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    return schemas, rest.get("$defs", {})


def _post(summary: str, request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {"200": _answer("The answer.", response)} | _refusals(),
    }


def _get(path: str, summary: str) -> dict[str, Any]:
    answer = _answer(summary, {"type": "object"})
    if path == "/metrics":
        answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": answer} | _refusals()}


def _refusals() -> dict[str, Any]:
    return {status: _answer(text, {"type": "object"}) for status, text in _REFUSALS.items()}


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}
