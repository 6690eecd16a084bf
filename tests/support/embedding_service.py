"""A service that speaks OpenAI's `/v1/embeddings`, and fails as it is told."""

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.config import Settings
from app.vectors.embedders.probe import PROBE
from tests.support.web import Exchange, WebServer

DIMENSIONS = 32
MODEL = "test-embed"
KEY = "sk-test-0123456789"

Fault = Callable[[Exchange, "EmbeddingService", dict[str, Any]], None]
"""Answers a request in the service's place."""


@dataclass
class EmbeddingService:
    """What answers a `WebServer`'s requests. Rows come in reverse, each with its index.

    `faults` are used up one by one, by requests for other texts than the node's own probe, unless `on_probe`.
    `refused` texts are those that hold it.
    """

    dimensions: int = DIMENSIONS
    seed: str = MODEL
    unknown_fields: frozenset[str] = frozenset()
    floats_only: bool = False
    max_texts: int = 2048
    too_many: int = 413
    refused: str | None = None
    refused_status: int = 422
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    on_probe: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, exchange: Exchange) -> None:
        question = json.loads(exchange.body)
        is_probe = question["input"] == [PROBE]
        with self._lock:
            self.asked.append(question)
            fault = None
            if self.on_probe or not is_probe:
                fault = self.faults.popleft() if self.faults else self.always
        (fault or answer)(exchange, self, question)

    @property
    def batches(self) -> list[list[str]]:
        """What was asked for, request by request, without the probe."""
        return [question["input"] for question in self.asked if question["input"] != [PROBE]]

    @property
    def texts(self) -> list[str]:
        return [text for batch in self.batches for text in batch]

    def vector(self, text: str) -> NDArray[np.float32]:
        """The direction of a text, which is not of length 1."""
        seed = int.from_bytes(sha256(f"{self.seed}\n{text}".encode()).digest()[:8])
        return (3 * np.random.default_rng(seed).normal(size=self.dimensions)).astype(np.float32)


def settings_for(server: WebServer, **changes: Any) -> Settings:
    """Settings of a node that asks this service."""
    found: dict[str, Any] = {
        "embedding_provider": "openai", "embedding_base_url": f"{server.url}/v1", "embedding_model": MODEL,
        "embedding_api_key": KEY, "embedding_dimensions": DIMENSIONS, "allowed_private_hosts": "127.0.0.1",
        "fetch_retries": 2,
    }  # fmt: skip
    return Settings(_env_file=None, **found | changes)


def answer(exchange: Exchange, service: EmbeddingService, question: dict[str, Any]) -> None:
    """As a service does that is well."""
    given = exchange.headers.get("api-key") or exchange.headers.get("authorization", "").removeprefix("Bearer ")
    texts = question["input"]
    if exchange.method != "POST" or not exchange.path.endswith("/embeddings"):
        refuse(exchange, 404, f"no such route: {exchange.path}")
    elif given != KEY:
        refuse(exchange, 401, f"Incorrect API key provided: {given}", "invalid_api_key")
    elif question["model"] != MODEL:
        refuse(exchange, 404, f"The model {question['model']} does not exist", "model_not_found")
    elif unknown := service.unknown_fields & question.keys():
        refuse(exchange, 400, f"{min(unknown)}: extra inputs are not permitted")
    elif len(texts) > service.max_texts:
        refuse(exchange, service.too_many, f"batch size {len(texts)} > maximum allowed batch size {service.max_texts}")
    elif "" in texts:
        refuse(exchange, 400, "input cannot be an empty string")
    elif service.refused is not None and any(service.refused in text for text in texts):
        refuse(exchange, service.refused_status, "the input is longer than this model's context")
    else:
        give(exchange, rows(service, question))


def rows(service: EmbeddingService, question: dict[str, Any]) -> list[dict[str, Any]]:
    in_base64 = question.get("encoding_format") == "base64" and not service.floats_only
    found = [
        {"object": "embedding", "index": index, "embedding": written(service.vector(text), in_base64=in_base64)}
        for index, text in enumerate(question["input"])
    ]
    return found[::-1]


def written(vector: NDArray[np.float32], *, in_base64: bool) -> str | list[float]:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if in_base64 else [float(x) for x in vector]


def give(exchange: Exchange, data: Sequence[dict[str, Any]]) -> None:
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    body = json.dumps({"object": "list", "data": data, "model": MODEL, "usage": usage}).encode()
    exchange.reply(200, body, content_type="application/json")


def refuse(exchange: Exchange, status: int, message: str, code: str | None = None, **headers: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}}).encode()
    exchange.reply(status, body, content_type="application/json", **headers)


def busy(retry_after: str | None = None, code: str = "rate_limit_exceeded") -> Fault:
    headers = {} if retry_after is None else {"retry_after": retry_after}
    return lambda exchange, _service, _question: refuse(exchange, 429, "slow down", code, **headers)


def status(code: int, message: str = "it broke") -> Fault:
    return lambda exchange, _service, _question: refuse(exchange, code, message)


def plain(body: bytes, code: int = 200) -> Fault:
    return lambda exchange, _service, _question: exchange.reply(code, body, content_type="text/html")


def cut_off(exchange: Exchange, _service: EmbeddingService, _question: dict[str, Any]) -> None:
    exchange.reply(200, b'{"data": [', content_length="1000")
    exchange.hang_up()


def giant(exchange: Exchange, _service: EmbeddingService, _question: dict[str, Any]) -> None:
    exchange.reply(200, b'{"data": [' + b" " * 5_000_000 + b"]}")


def delayed(seconds: float) -> Fault:
    def fault(exchange: Exchange, service: EmbeddingService, question: dict[str, Any]) -> None:
        time.sleep(seconds)
        answer(exchange, service, question)

    return fault


def failing_on(part: str, code: int = 500) -> Fault:
    """Fails on every request with a text that holds `part`."""

    def fault(exchange: Exchange, service: EmbeddingService, question: dict[str, Any]) -> None:
        if any(part in text for text in question["input"]):
            refuse(exchange, code, "NaN in the output")
        else:
            answer(exchange, service, question)

    return fault


def changed(change: Callable[[list[dict[str, Any]]], object]) -> Fault:
    """Changes the rows of a good answer before they are given."""

    def fault(exchange: Exchange, service: EmbeddingService, question: dict[str, Any]) -> None:
        found = rows(service, question)
        change(found)
        give(exchange, found)

    return fault
