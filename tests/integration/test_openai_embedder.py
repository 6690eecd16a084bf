"""The embedder that asks a service, before one that fails in every way."""

import time
from collections.abc import Iterator

import numpy as np
import openai
import pytest
import structlog

from app.core.config import Settings
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.vectors.embedders import EmbeddingUnavailableError
from app.vectors.embedders.openai import OpenAIEmbedder
from app.vectors.embedders.probe import PROBE, is_identity
from tests.support import embedding_service as faults
from tests.support.embedding_service import DIMENSIONS, KEY, MODEL, EmbeddingService, Fault, settings_for, written
from tests.support.web import WebServer

TEXTS = [f"Lamp {number}" for number in range(20)]


@pytest.fixture
def service() -> EmbeddingService:
    return EmbeddingService()


@pytest.fixture
def server(service: EmbeddingService) -> Iterator[WebServer]:
    with WebServer(service) as server:
        yield server


def ask(server: WebServer, *, patience: float = 20, **changes: object) -> OpenAIEmbedder:
    return OpenAIEmbedder(settings_for(server, **changes), patience=patience, backoff=0.01)


def expected(service: EmbeddingService, texts: list[str]) -> np.ndarray:
    found = np.array([service.vector(text) for text in texts], np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def assert_whole(service: EmbeddingService, embedder: OpenAIEmbedder, texts: list[str]) -> None:
    """Every text gets its own vector."""
    embedded = embedder.embed(texts)
    assert embedded.refused == {}
    np.testing.assert_allclose(embedded.vectors, expected(service, texts), atol=1e-6)


# --- how it asks -----------------------------------------------------------------------------------------------------


def test_the_service_of_these_tests_is_one_for_the_official_sdk(server: WebServer, service: EmbeddingService) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
    for encoding in ("float", "base64"):
        found = client.embeddings.create(model=MODEL, input=TEXTS[:3], dimensions=DIMENSIONS, encoding_format=encoding)
        rows = {row.index: row.embedding for row in found.data}
        for index, text in enumerate(TEXTS[:3]):
            asked = service.vector(text)
            same = written(asked, in_base64=True) if encoding == "base64" else [float(x) for x in asked]
            assert rows[index] == same
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).embeddings.create(
            model=MODEL, input="a"
        )
    service.faults.append(faults.busy("1"))
    with pytest.raises(openai.RateLimitError):
        client.embeddings.create(model=MODEL, input="a")


def test_texts_are_asked_for_in_batches_of_which_some_run_at_once(server: WebServer, service: EmbeddingService) -> None:
    service.always = faults.delayed(0.05)
    assert_whole(service, ask(server, embedding_batch_size=5, connections_per_host=3), TEXTS)
    assert sorted(len(batch) for batch in service.batches) == [5, 5, 5, 5]
    assert sorted(service.texts) == sorted(TEXTS)
    assert server.most_at_once == 3


def test_a_request_says_what_is_wanted_and_who_asks(server: WebServer, service: EmbeddingService) -> None:
    ask(server).embed(["a lamp", ""])
    probe, question = service.asked
    assert probe["input"] == [PROBE]
    assert question == {
        "model": MODEL, "input": ["a lamp", " "], "encoding_format": "base64", "dimensions": DIMENSIONS,
    }  # fmt: skip
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    assert {request.target for request in server.requests} == {"/v1/embeddings"}


def test_the_probe_is_asked_for_once(server: WebServer, service: EmbeddingService) -> None:
    embedder = ask(server)
    for _ in range(3):
        embedder.embed(["a lamp"])
        assert embedder.identity.model == MODEL
    assert len(service.asked) == 4


@pytest.mark.parametrize(
    ("base", "target"),
    [
        ("/v1/", "/v1/embeddings"),
        ("/v1/embeddings", "/v1/embeddings"),
        (
            "/openai/deployments/small?api-version=2024-10-21",
            "/openai/deployments/small/embeddings?api-version=2024-10-21",
        ),
    ],
)
def test_base_urls_of_several_kinds(server: WebServer, service: EmbeddingService, base: str, target: str) -> None:
    assert_whole(service, ask(server, embedding_base_url=server.url + base), TEXTS[:2])
    assert {request.target for request in server.requests} == {target}
    header = "api-key" if "api-version" in base else "authorization"
    assert all(KEY in request.headers[header] for request in server.requests)


@pytest.mark.parametrize("unknown", [{"encoding_format"}, {"dimensions"}, {"encoding_format", "dimensions"}])
def test_fields_that_a_service_does_not_know_are_left_out(
    server: WebServer, service: EmbeddingService, unknown: set[str]
) -> None:
    service.unknown_fields = frozenset(unknown)
    embedder = ask(server)
    for _ in range(2):
        assert_whole(service, embedder, TEXTS[:3])
    assert [unknown & question.keys() for question in service.asked[-2:]] == [set(), set()]


def test_decimals_are_read_where_base64_was_asked_for(server: WebServer, service: EmbeddingService) -> None:
    service.floats_only = True
    assert_whole(service, ask(server), TEXTS[:3])


# --- texts that are refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_one_text_that_is_refused_is_found(server: WebServer, service: EmbeddingService, status: int) -> None:
    service.refused, service.refused_status = "Lamp 13", status
    embedded = ask(server, embedding_batch_size=20).embed(TEXTS)
    assert list(embedded.refused) == [13]
    assert f"HTTP {status}, the input is longer than this model's context" in embedded.refused[13]
    others = [place for place in range(20) if place != 13]
    np.testing.assert_allclose(embedded.vectors[others], expected(service, [TEXTS[n] for n in others]), atol=1e-6)
    assert np.isnan(embedded.vectors[13]).all()
    assert len(service.batches) < 12


@pytest.mark.parametrize("status", [400, 413, 422])
def test_batches_that_are_too_large_are_made_smaller_for_good(
    server: WebServer, service: EmbeddingService, status: int
) -> None:
    service.max_texts, service.too_many = 6, status
    embedder = ask(server, embedding_batch_size=20)
    assert_whole(service, embedder, TEXTS)
    service.asked.clear()
    assert_whole(service, embedder, TEXTS)
    assert [len(batch) for batch in service.batches] == [5, 5, 5, 5]


def test_a_text_on_which_the_service_fails_is_found_too(server: WebServer, service: EmbeddingService) -> None:
    service.always = faults.failing_on("Lamp 13")
    embedded = ask(server, fetch_retries=1).embed(TEXTS)
    assert list(embedded.refused) == [13]
    assert "HTTP 500, NaN in the output" in embedded.refused[13]


@pytest.mark.parametrize("number", [0.0, float("inf"), float("nan")])
def test_numbers_that_are_no_direction_refuse_their_text_alone(
    server: WebServer, service: EmbeddingService, number: float
) -> None:
    bad = np.full(DIMENSIONS, number, np.float32)
    service.faults.append(faults.changed(lambda rows: rows[-1].update(embedding=written(bad, in_base64=True))))
    embedded = ask(server).embed(TEXTS[:3])
    assert list(embedded.refused) == [0]
    assert np.isnan(embedded.vectors[0]).all()
    np.testing.assert_allclose(embedded.vectors[1:], expected(service, TEXTS[1:3]), atol=1e-6)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (faults.status(400, "billing hard limit reached"), "HTTP 400, billing hard limit reached"),
        (faults.changed(lambda rows: [row.update(embedding=[0.0] * DIMENSIONS) for row in rows]), "no direction"),
    ],
)
def test_a_service_that_comes_to_refuse_everything_refuses_no_text(
    server: WebServer, service: EmbeddingService, fault: Fault, told: str
) -> None:
    embedder = ask(server, connections_per_host=1)
    embedder.embed(TEXTS[:1])
    service.asked.clear()
    service.always, service.on_probe = fault, True
    with pytest.raises(EmbeddingUnavailableError, match=told) as caught:
        embedder.embed(TEXTS)
    assert "the account of EMBEDDING_API_KEY" in caught.value.remedy
    assert len(service.batches) < len(TEXTS) / 2


def test_one_that_does_so_after_a_text_was_refused_for_its_own_sake_is_noticed(
    server: WebServer, service: EmbeddingService
) -> None:
    probes = []

    def used_up(exchange, service, question) -> None:
        probes.extend(question["input"] if question["input"] == [PROBE] else [])
        if len(probes) > 2 or (len(probes) == 2 and question["input"] != [PROBE]):
            faults.refuse(exchange, 400, "billing hard limit reached")
        else:
            faults.answer(exchange, service, question)

    service.always, service.on_probe, service.refused = used_up, True, "Lamp 3"
    with pytest.raises(EmbeddingUnavailableError, match="billing hard limit"):
        ask(server, connections_per_host=1).embed(TEXTS)
    assert len(probes) == 3


# --- what passes -----------------------------------------------------------------------------------------------------

_FAULTS: dict[str, Fault] = {
    "500": faults.status(500),
    "503": faults.status(503),
    "connection cut": faults.cut_off,
    "a page as if all was well": faults.plain(b"<html>please log in</html>"),
    "no JSON": faults.plain(b"{"),
    "delay": faults.delayed(0.6),
    "index missing": faults.changed(lambda rows: rows.pop()),
    "no index": faults.changed(lambda rows: rows[0].pop("index")),
    "index twice": faults.changed(lambda rows: rows[0].update(index=0)),
    "index out of range": faults.changed(lambda rows: rows[0].update(index=7)),
    "index below": faults.changed(lambda rows: rows[0].update(index=-1)),
    "no base64": faults.changed(lambda rows: rows[0].update(embedding="*")),
    "half a number": faults.changed(lambda rows: rows[0].update(embedding="AAA=")),
}


@pytest.mark.parametrize("fault", _FAULTS.values(), ids=_FAULTS)
def test_what_passes_is_asked_for_again(server: WebServer, service: EmbeddingService, fault: Fault) -> None:
    service.faults.append(fault)
    assert_whole(service, ask(server, first_byte_timeout=0.3, connect_timeout=0.2), TEXTS[:3])
    assert service.batches == [TEXTS[:3]] * 2


def test_a_service_that_is_down_is_asked_a_few_times(server: WebServer, service: EmbeddingService) -> None:
    service.always, service.on_probe = faults.status(500), True
    with pytest.raises(EmbeddingUnavailableError, match="HTTP 500, it broke"):
        ask(server, fetch_retries=2).embed(TEXTS)
    assert len(service.asked) == 3


def test_one_that_goes_down_meanwhile_refuses_no_text(server: WebServer, service: EmbeddingService) -> None:
    embedder = ask(server, fetch_retries=1)
    embedder.embed(TEXTS[:1])
    service.always, service.on_probe = faults.status(502), True
    with pytest.raises(EmbeddingUnavailableError, match="HTTP 502"):
        embedder.embed(TEXTS)


def test_a_service_that_is_not_there_is_unavailable() -> None:
    with WebServer(EmbeddingService()) as server:
        pass
    with pytest.raises(EmbeddingUnavailableError, match="no connection"):
        ask(server).embed(TEXTS)


def test_being_busy_is_no_failure(server: WebServer, service: EmbeddingService) -> None:
    service.faults.extend([faults.busy()] * 8)  # of two retries
    assert_whole(service, ask(server, embedding_batch_size=5), TEXTS)


def test_a_busy_service_is_given_the_time_it_asks_for(server: WebServer, service: EmbeddingService) -> None:
    asked: list[float] = []

    def busy_once(exchange, service, question) -> None:
        asked.append(time.monotonic())
        (faults.busy("1") if len(asked) == 1 else faults.answer)(exchange, service, question)

    service.always = busy_once
    assert_whole(service, ask(server), TEXTS[:3])
    assert asked[1] - asked[0] >= 0.99


def test_a_service_that_stays_busy_is_unavailable_in_the_end(server: WebServer, service: EmbeddingService) -> None:
    service.always = faults.busy()
    with pytest.raises(EmbeddingUnavailableError, match="429") as caught:
        ask(server, patience=0.3).embed(TEXTS[:3])
    assert caught.value.remedy


def test_who_would_have_to_wait_too_long_is_told_how_long(server: WebServer, service: EmbeddingService) -> None:
    service.always = faults.busy("3600")
    with pytest.raises(EmbeddingUnavailableError, match="slow down") as caught:
        ask(server).embed(TEXTS[:3])
    assert caught.value.retry_after == 3600
    assert len(service.batches) == 1


def test_a_used_up_quota_is_not_waited_for(server: WebServer, service: EmbeddingService) -> None:
    service.always = faults.busy(code="insufficient_quota")
    with pytest.raises(EmbeddingUnavailableError) as caught:
        ask(server).embed(TEXTS[:3])
    assert "quota" in caught.value.remedy
    assert len(service.batches) == 1


# --- what somebody has to set right ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"embedding_api_key": "wrong"}, "EMBEDDING_API_KEY"),
        ({"embedding_api_key": None}, "EMBEDDING_API_KEY"),
        ({"embedding_model": "another"}, "EMBEDDING_MODEL"),
        ({"embedding_dimensions": 64}, "EMBEDDING_DIMENSIONS=32"),
        ({"allowed_private_hosts": ""}, "ALLOWED_PRIVATE_HOSTS=127.0.0.1:"),
        ({"embedding_base_url": "http://user:sk-secret@127.0.0.1/v1"}, "EMBEDDING_API_KEY"),
        ({"embedding_base_url": "http://127.0.0.1:99999/v1"}, "EMBEDDING_BASE_URL"),
        ({"embedding_api_key": "sk-\n-secret"}, "EMBEDDING_API_KEY"),
    ],
)
def test_wrong_settings_are_named(
    server: WebServer, service: EmbeddingService, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask(server, **changes).embed(TEXTS[:3])
    assert named in f"{caught.value} {caught.value.remedy}"
    assert service.batches == []


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (faults.status(400, "this model is none for embeddings"), "none for embeddings"),
        (faults.plain(b"", 301), "redirects"),
        (faults.status(403), "EMBEDDING_API_KEY"),
        (faults.giant, "more than"),
        (
            faults.changed(lambda rows: rows[0].update(embedding=[0.0] * DIMENSIONS)),
            "no direction",
        ),
    ],
)
def test_a_service_that_cannot_serve_refuses_no_text(
    server: WebServer, service: EmbeddingService, fault: Fault, named: str
) -> None:
    service.always, service.on_probe = fault, True
    with pytest.raises(ConfigurationError) as caught:
        ask(server).embed(TEXTS[:3])
    assert named in f"{caught.value} {caught.value.remedy}"
    assert service.batches == []


def test_vectors_that_change_their_length_are_refused(server: WebServer, service: EmbeddingService) -> None:
    embedder = ask(server)
    embedder.embed(TEXTS[:1])
    service.dimensions = 48
    with pytest.raises(ConfigurationError, match="vectors of 48"):
        embedder.embed(TEXTS)


@pytest.mark.parametrize("missing", ["embedding_model", "embedding_dimensions"])
def test_half_a_configuration_is_refused_at_once(server: WebServer, missing: str) -> None:
    with pytest.raises(ValueError, match=missing.upper()):
        settings_for(server, **{missing: None})


def test_the_key_is_told_nowhere(server: WebServer, service: EmbeddingService) -> None:
    told: list[object] = []

    def says_the_key(exchange, _service, question) -> None:
        faults.refuse(exchange, [500, 429, 418][min(len(service.batches), 3) - 1], f"your key is {KEY}")

    service.always = says_the_key
    with structlog.testing.capture_logs() as logged, pytest.raises(DiscoveryNodeError) as caught:
        ask(server).embed(TEXTS[:3])
    settings: Settings = settings_for(server)
    told += [logged, caught.value, caught.value.remedy, settings, OpenAIEmbedder(settings)._endpoint]
    assert "your key is …" in str(caught.value)
    assert len(logged) >= 2
    assert all(KEY not in f"{each} {each!r}" for each in told)


# --- which model it is -----------------------------------------------------------------------------------------------


def test_a_service_that_changes_its_model_is_another(server: WebServer, service: EmbeddingService) -> None:
    before = ask(server).identity
    recorded = {name: getattr(before, name) for name in before.__slots__}
    assert is_identity(recorded, ask(server).identity)

    service.seed = "the same name, other weights"
    assert not is_identity(recorded, ask(server).identity)


def test_a_model_is_looked_at_again_after_a_while(
    server: WebServer, service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = ask(server)
    before = embedder.identity
    service.seed = "the same name, other weights"
    assert embedder.identity == before
    later = time.monotonic() + 3601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert embedder.identity != before


def test_a_service_that_moves_is_the_same(server: WebServer, service: EmbeddingService) -> None:
    with WebServer(EmbeddingService()) as other:
        assert ask(server).identity == ask(other).identity
