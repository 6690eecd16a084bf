"""The control plane: indexes are created, described, listed and deleted."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.pinecone.answers import Answer, Refusal, Request, require
from tests.support.pinecone.embedding import MODELS
from tests.support.pinecone.index import Index
from tests.support.pinecone.limits import MAX_DIMENSION

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_METRICS = {"cosine", "dotproduct", "euclidean"}

Describe = Callable[[str], dict[str, Any] | None]
Added = Callable[[Index, Mapping[str, Any], Mapping[str, Any]], None]
"""Told of a new index, its schema's fields and its deployment."""


class ControlPlane:
    """Answers for the indexes that it is given access to."""

    def __init__(self, names: Callable[[], list[str]], describe: Describe, added: Added, remove: Callable[[str], None]):
        self._names = names
        self._describe = describe
        self._added = added
        self._remove = remove

    def __call__(self, request: Request) -> Answer:
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["indexes"]:
                return Answer(content={"indexes": [self._describe(name) for name in self._names()]})
            case "POST", ["indexes"]:
                return self._create(request.json())
            case "POST", ["indexes", "create-for-model"]:
                return self._create_for_model(request.json())
            case "GET", ["indexes", name]:
                return Answer(content=self._found(name))
            case "DELETE", ["indexes", name]:
                self._found(name)
                self._remove(name)
                return Answer(202)
        raise Refusal(404, f"there is no {request.method} {request.path}", "NOT_FOUND")

    def _create(self, body: Mapping[str, Any]) -> Answer:
        fields = body.get("schema", {}).get("fields")
        require(isinstance(fields, Mapping) and fields, "a schema has fields")
        deployment = body.get("deployment") or {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}
        name = self._new_name(body)
        self._added(_index(name, fields), fields, deployment)
        return Answer(201, self._describe(name))

    def _create_for_model(self, body: Mapping[str, Any]) -> Answer:
        embed = body.get("embed", {})
        model, text_field = MODELS.get(embed.get("model")), embed.get("field_map", {}).get("text")
        require(model is not None, f"there is no model {embed.get('model')}")
        require(isinstance(text_field, str) and text_field, "field_map names the field of the text")
        require(body.get("cloud") and body.get("region"), "cloud and region are needed")
        assert model is not None
        metric = embed.get("metric", model.metric)
        require(model.vector_type == "dense" or metric == "dotproduct", "sparse vectors compare by dotproduct")
        name = self._new_name(body)
        index = Index(name, model.vector_type, model.dimension, metric, embed["model"], text_field)
        fields = {text_field: {"type": "semantic_text", "model": embed["model"], "metric": metric}}
        place = {"deployment_type": "managed", "cloud": body["cloud"], "region": body["region"]}
        self._added(index, fields, place)
        return Answer(201, self._describe(name))

    def _found(self, name: str) -> dict[str, Any]:
        described = self._describe(name)
        if described is None:
            raise Refusal(404, f"Resource {name} not found", "NOT_FOUND")
        return described

    def _new_name(self, body: Mapping[str, Any]) -> str:
        name = body.get("name")
        require(isinstance(name, str) and _NAME.fullmatch(name), "a name is of small letters, digits and hyphens")
        if name in self._names():
            raise Refusal(409, f"Resource {name} already exists", "ALREADY_EXISTS")
        return str(name)


def _index(name: str, fields: Mapping[str, Any]) -> Index:
    """Only indexes of vectors can be written to by this server; others are there to be described."""
    for field in fields.values():
        known = {"dense_vector", "sparse_vector", "string"}
        require(field.get("type") in known, f"{field.get('type')} cannot be declared")
    dense = fields.get("_values")
    if dense is None:
        return Index(name, "sparse", None, "dotproduct")
    dimension, metric = dense.get("dimension"), dense.get("metric")
    require(type(dimension) is int and 1 <= dimension <= MAX_DIMENSION, f"a dimension is 1 to {MAX_DIMENSION}")
    require(metric in _METRICS, f"there is no metric {metric}")
    return Index(name, "dense", dimension, metric)
