"""A server that speaks Pinecone's HTTP protocol (version 2026-07), holds to its limits, and fails on request."""

import json
import ssl
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from tests.support.pinecone.answers import Answer, Refusal, Request, require
from tests.support.pinecone.control import ControlPlane
from tests.support.pinecone.data import DataPlane
from tests.support.pinecone.faults import Fault, Faults, refuse, spoil
from tests.support.pinecone.index import Index, Lateness
from tests.support.pinecone.listening import Listener, Respond

__all__ = ["API_KEY", "Fault", "Lateness", "PineconeServer"]

API_KEY = "pcsk_example_of-a-key"
_VERSION = "2026-07"


class PineconeServer:
    """The control plane, and a data plane on a port of its own for each index, as hosts differ there."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.faults = Faults()
        self.indexes: dict[str, Index] = {}
        self.initializing = 0  # how often a new index is described before it is ready
        self.asked: list[tuple[str, str]] = []
        self._schemas: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self._listeners: dict[str, Listener] = {}
        self._waits: dict[str, int] = {}
        self._lock = threading.Lock()
        self._plane = ControlPlane(lambda: sorted(self.indexes), self._describe, self._add, self._remove)

    def __enter__(self) -> Self:
        self._control = Listener(partial(self._answer, self._plane, None), self._tls)
        return self

    def __exit__(self, *_: object) -> None:
        for listener in (self._control, *self._listeners.values()):
            listener.close()

    @property
    def url(self) -> str:
        """Where the control plane is."""
        return self._control.url

    def create_dense(self, name: str, dimension: int, metric: str = "dotproduct") -> Index:
        """An index for vectors of its users' own."""
        return self.create(name, {"_values": {"type": "dense_vector", "dimension": dimension, "metric": metric}})

    def create_integrated(
        self, name: str, model: str = "pinecone-sparse-english-v0", text_field: str = "text"
    ) -> Index:
        """An index that embeds texts."""
        body = {"name": name, "cloud": "aws", "region": "us-east-1",
                "embed": {"model": model, "field_map": {"text": text_field}}}  # fmt: skip
        return self._made("/indexes/create-for-model", body)

    def create(self, name: str, fields: Mapping[str, Any], deployment: Mapping[str, Any] | None = None) -> Index:
        """An index of any schema."""
        return self._made("/indexes", {"name": name, "schema": {"fields": fields}, "deployment": deployment})

    def settle(self) -> None:
        """Makes seen what was written."""
        for index in self.indexes.values():
            index.settle()

    def empty(self) -> None:
        """Makes all indexes as they were when they were new, and lets nothing fail any more."""
        self.faults.clear()
        for index in self.indexes.values():
            index.empty()

    def _made(self, path: str, body: dict[str, Any]) -> Index:
        self._plane(Request("POST", path, {}, {}, json.dumps(body).encode()))
        return self.indexes[body["name"]]

    def _add(self, index: Index, fields: Mapping[str, Any], deployment: Mapping[str, Any]) -> None:
        respond: Respond = partial(self._answer, DataPlane(index), index)
        with self._lock:
            self.indexes[index.name] = index
            self._schemas[index.name] = fields, deployment
            self._listeners[index.name] = Listener(respond, self._tls)
            self._waits[index.name] = self.initializing

    def _remove(self, name: str) -> None:
        with self._lock:
            del self.indexes[name]
            listener = self._listeners.pop(name)
        listener.close()

    def _describe(self, name: str) -> dict[str, Any] | None:
        if name not in self.indexes:
            return None
        fields, deployment = self._schemas[name]
        waits = self._waits[name] = self._waits[name] - 1
        is_ready = waits < 0
        return {
            "name": name, "host": self._listeners[name].url if is_ready else None,
            "status": {"ready": is_ready, "state": "Ready" if is_ready else "Initializing"},
            "schema": {"fields": dict(fields)}, "deployment": dict(deployment), "deletion_protection": "disabled",
            "tags": None,
        }  # fmt: skip

    def _answer(self, plane: ControlPlane | DataPlane, index: Index | None, request: Request) -> Answer | None:
        self._count(index, request)
        fault = self.faults.take(request)
        try:
            require(request.headers.get("x-pinecone-api-version") == _VERSION, f"this is version {_VERSION}")
            if request.headers.get("api-key") != API_KEY:
                raise Refusal(401, "Invalid API Key", "UNAUTHENTICATED")
            if fault is not None:
                refuse(fault, request)
            answer = plane(request)
        except Refusal as refusal:
            return refusal.answer
        return spoil(fault, answer) if fault is not None else answer

    def _count(self, index: Index | None, request: Request) -> None:
        with self._lock:
            self.asked.append((request.method, request.path))
            if index is not None:
                counted = index.counted
                counted.requests[request.path] = counted.requests.get(request.path, 0) + 1
                counted.bytes += len(request.body)
