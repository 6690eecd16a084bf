"""The OpenAPI document as people read it: routes by chapter, each with its parameters and a command that asks it."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LEFT_OUT = frozenset({"null"})
_JSON = "application/json"


@dataclass(frozen=True)
class Parameter:
    """What a request may say. `kind` is its type in words, with its bounds."""

    name: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True)
class Operation:
    """A method of a route. `answer` names the fields of its document, `forms` the media types it can be had in."""

    method: str
    path: str
    description: str
    parameters: Sequence[Parameter]
    body: str
    needs_key: bool
    answer: Sequence[str]
    forms: Sequence[str]
    command: str


def chapters(document: Mapping[str, Any], base_url: str) -> dict[str, list[Operation]]:
    """The operations of an OpenAPI document by their tag, as the document has them; commands ask `base_url`."""
    found: defaultdict[str, list[Operation]] = defaultdict(list)
    for path, operations in document["paths"].items():
        for method, told in operations.items():
            found[told["tags"][0]].append(_operation(document, base_url.rstrip("/"), path, method, told))
    return dict(found)


def _operation(
    document: Mapping[str, Any], base_url: str, path: str, method: str, told: Mapping[str, Any]
) -> Operation:
    content: Mapping[str, Any] = next((each["content"] for each in told["responses"].values() if "content" in each), {})
    return Operation(
        method=method.upper(),
        path=path,
        description=told["description"],
        parameters=[_parameter(each) for each in told.get("parameters", [])],
        body=told.get("requestBody", {}).get("description", ""),
        needs_key=bool(told.get("security")),
        answer=_fields(document, content),
        forms=list(content),
        command=_command(base_url, path, method, told),
    )


def _parameter(told: Mapping[str, Any]) -> Parameter:
    schema = told["schema"]
    default = schema.get("default")
    kind = _kind(schema) + (f", else {default}" if default not in (None, "", False) else "")
    return Parameter(told["name"], kind, told["required"], told.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        kinds = (_kind(each) for each in schema["anyOf"])
        return " or ".join(each for each in kinds if each not in _LEFT_OUT)
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "items" in schema:
        return f"{schema.get('minItems', 0)} to {schema.get('maxItems', 'any')} times {_kind(schema['items'])}"
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['type']}, {schema['minimum']:.15g} to {schema['maximum']:.15g}"
    return str(schema.get("format") or schema.get("type", "any"))


def _fields(document: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """The names of an answer's fields, of the shape that its schema refers to."""
    schema = content.get(_JSON, {}).get("schema", {})
    shape = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    return list(shape.get("properties", {}))


def _command(base_url: str, path: str, method: str, told: Mapping[str, Any]) -> str:
    """A command to copy, in which capital letters stand for what is one's own."""
    place, query = path, list[str]()
    for each in told.get("parameters", []):
        name = each["name"]
        if each["in"] == "path":
            place = place.replace(f"{{{name}}}", name.upper())
        else:
            query += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for value in _examples(each)]
    parts = ["curl"]
    if method != "get":
        parts.append(f"-X {method.upper()}")
    elif query:
        parts.append("-G")
    if told.get("security"):
        parts.append("-H 'Authorization: Bearer KEY'")
    if "requestBody" in told:
        parts.append(f"-H 'Content-Type: {_JSON}' --data-binary @FILE")
    return " ".join([*parts, shlex.quote(base_url + place), *query])


def _examples(told: Mapping[str, Any]) -> list[str]:
    """What to say for a parameter: its example, else its name where it has to be given."""
    schema = told["schema"]
    if "examples" in schema:
        return [str(schema["examples"][0])]
    return [told["name"].upper()] * schema.get("minItems", 1) if told["required"] else []
