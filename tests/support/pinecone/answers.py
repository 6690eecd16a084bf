"""Requests and answers of Pinecone's HTTP protocol."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request, read whole."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            raise Refusal(400, "the body is no JSON") from None

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    content: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An answer that says no. The control plane and the records API wrap what they say, the vectors API does not; the
    SDK reads both."""

    def __init__(self, status: int, message: str, code: str = "INVALID_ARGUMENT", **headers: str) -> None:
        super().__init__(message)
        content = {"error": {"code": code, "message": message}, "status": status}
        self.answer = Answer(status, content, {name.replace("_", "-"): value for name, value in headers.items()})


def require(condition: object, message: str) -> None:
    if not condition:
        raise Refusal(400, message)
