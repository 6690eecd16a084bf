"""The client against a server that speaks Pinecone's protocol, holds to its limits, and fails."""

import gzip
import logging
import ssl
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
import trustme

from app.core.errors import ConfigurationError
from app.net.door import Policy
from app.vectors.indexes.pinecone import (
    PineconeError,
    PineconeIndexes,
    PineconeRefusedError,
    PineconeUnavailableError,
    Record,
    SearchFilters,
    UnsuitableIndexError,
    create_missing,
    obsolete_settings,
    open_indexes,
)
from app.vectors.indexes.pinecone.config import Patience
from app.vectors.indexes.pinecone.records import MAX_BATCH_BYTES
from tests.support.pinecone import API_KEY, Fault, Lateness, PineconeServer
from tests.support.pinecone.opening import DIMENSIONS, facts, open_at, pinecone_config, pinecone_settings, record
from tests.support.web import Exchange, WebServer

NAMESPACE = "node-1"


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[PineconeServer, PineconeIndexes]]:
    with PineconeServer() as server:
        server.create_dense("dense", DIMENSIONS)
        server.create_integrated("sparse")
        indexes = open_at(server)
        yield server, indexes
        indexes.close()


@pytest.fixture
def server(shared: tuple[PineconeServer, PineconeIndexes]) -> PineconeServer:
    """With both indexes, which are empty."""
    shared[0].empty()
    return shared[0]


@pytest.fixture
def indexes(server: PineconeServer, shared: tuple[PineconeServer, PineconeIndexes]) -> PineconeIndexes:
    shared[1].take_traffic()
    return shared[1]


def written(acknowledged: Iterator[list[str]]) -> list[str]:
    return sorted((each for ids in acknowledged for each in ids), key=int)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def held(server: PineconeServer, index: str) -> list[str]:
    return sorted(server.indexes[index].namespaces.get(NAMESPACE, {}), key=int)


# --- writing and reading -----------------------------------------------------------------------------------------


def test_own_vectors_are_cut_by_number(server: PineconeServer, indexes: PineconeIndexes) -> None:
    assert written(indexes.dense.upsert(NAMESPACE, map(record, range(2300)))) == numbers(2300)
    assert sorted(server.indexes["dense"].counted.batches) == [300, 1000, 1000]
    assert held(server, "dense") == numbers(2300)


def test_own_vectors_are_cut_by_bytes(server: PineconeServer) -> None:
    server.create_dense("wide", 4096)
    policy = Policy.of(pinecone_settings(server))
    wide = open_indexes(pinecone_config(server, pinecone_dense_index="wide"), policy, 4096)
    assert written(wide.dense.upsert(NAMESPACE, (record(number, size=4096) for number in range(100)))) == numbers(100)
    counted = server.indexes["wide"].counted
    assert len(counted.batches) > 1
    # Cut no sooner than needed: of two batches that follow one another none would have fitted whole.
    assert counted.bytes / (len(counted.batches) - 1) > MAX_BATCH_BYTES * 0.9
    wide.close()


def test_texts_are_cut_by_ninety_six(server: PineconeServer, indexes: PineconeIndexes) -> None:
    assert written(indexes.sparse.upsert(NAMESPACE, map(record, range(200)))) == numbers(200)
    assert sorted(server.indexes["sparse"].counted.batches) == [8, 96, 96]


def test_long_texts_and_odd_ones_fit(indexes: PineconeIndexes) -> None:
    texts = ["\n" * 50_000 + "word", '"' * 50_000, "ü" * 50_000, "", " \n"]
    records = [record(number, text) for number, text in enumerate(texts)]
    assert written(indexes.sparse.upsert(NAMESPACE, records)) == numbers(len(texts))


def test_no_more_is_read_ahead_than_is_sent(indexes: PineconeIndexes) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Record]:
        for number in range(10_000):
            taken.append(number)
            yield record(number)

    acknowledged = indexes.sparse.upsert(NAMESPACE, endless())
    next(acknowledged)
    acknowledged.close()
    assert len(taken) <= 96 * 5 + 1


def test_both_find_what_they_hold(indexes: PineconeIndexes) -> None:
    records = [record(number, metadata=facts("Acme" if number % 2 else "Other")) for number in range(50)]
    for index in (indexes.dense, indexes.sparse):
        written(index.upsert(NAMESPACE, records))
    best = indexes.dense.query(NAMESPACE, vector=records[7].vector, filters=SearchFilters(brand="ACME"), top_k=3)
    assert best[0].id == "7"
    assert all(int(match.id) % 2 for match in best)
    found = indexes.sparse.query(NAMESPACE, text="number8", filters=SearchFilters(brand="other"))
    assert [match.id for match in found] == ["8"]
    assert indexes.sparse.query(NAMESPACE, text="number8", filters=SearchFilters(brand="acme")) == []
    assert indexes.dense.query("another", vector=records[7].vector) == []


def test_a_dense_index_that_embeds_is_written_and_asked_by_texts(server: PineconeServer) -> None:
    server.create_integrated("hosted", "multilingual-e5-large", text_field="chunk")
    indexes = open_at(server, pinecone_dense_index="hosted")
    assert (indexes.dense.kind, indexes.dense.takes) == ("dense", "texts")
    written(indexes.dense.upsert(NAMESPACE, [Record(str(n), f"cup{n}", None, facts()) for n in range(100)]))
    assert indexes.dense.query(NAMESPACE, text="cup9", top_k=1)[0].id == "9"
    assert indexes.dense.fetch_metadata(NAMESPACE, ["9"]) == {"9": facts()}
    indexes.close()


def test_metadata_changes_without_embedding(server: PineconeServer, indexes: PineconeIndexes) -> None:
    written(indexes.sparse.upsert(NAMESPACE, map(record, range(20))))
    embedded = server.indexes["sparse"].counted.embedded
    changes = [(str(number), facts("New")) for number in range(10)] + [("99", facts("New"))]
    assert written(indexes.sparse.update_metadata(NAMESPACE, changes)) == [*numbers(10), "99"]
    assert server.indexes["sparse"].counted.embedded == embedded
    found = indexes.sparse.query(NAMESPACE, text="coffee", filters=SearchFilters(brand="new"))
    assert sorted((match.id for match in found), key=int) == numbers(10)
    assert held(server, "sparse") == numbers(20)


def test_listing_and_fetching_tell_all_there_is(indexes: PineconeIndexes) -> None:
    written(indexes.dense.upsert(NAMESPACE, map(record, range(250))))
    pages = list(indexes.dense.ids(NAMESPACE))
    assert sorted((each for page in pages for each in page), key=int) == numbers(250)
    assert len(pages) == 3
    fetched = indexes.dense.fetch_metadata(NAMESPACE, [*numbers(250), "gone"])
    assert fetched == dict.fromkeys(numbers(250), facts())
    assert indexes.dense.count(NAMESPACE) == 250


def test_long_ids_are_fetched_in_urls_that_fit(indexes: PineconeIndexes) -> None:
    ids = [f"{number:0512}" for number in range(60)]
    written(indexes.sparse.upsert(NAMESPACE, [Record(each, "cup", None, facts()) for each in ids]))
    assert set(indexes.sparse.fetch_metadata(NAMESPACE, ids)) == set(ids)


def test_what_is_deleted_is_gone(server: PineconeServer, indexes: PineconeIndexes) -> None:
    written(indexes.dense.upsert(NAMESPACE, map(record, range(1500))))
    assert written(indexes.dense.delete(NAMESPACE, numbers(1499))) == numbers(1499)
    assert held(server, "dense") == ["1499"]
    assert written(indexes.dense.delete("never-there", ["1"])) == ["1"]
    indexes.dense.drop(NAMESPACE)
    indexes.dense.drop(NAMESPACE)
    assert indexes.dense.namespaces() == {}
    assert list(indexes.dense.ids(NAMESPACE)) == []


def test_a_record_without_a_vector_is_refused_before_it_is_sent(indexes: PineconeIndexes) -> None:
    broken = np.full(DIMENSIONS, np.nan, np.float32)
    for vector in (None, broken):
        with pytest.raises(ValueError, match="record 1 has no vector"):
            written(indexes.dense.upsert(NAMESPACE, [Record("1", "cup", vector, facts())]))


# --- faults ------------------------------------------------------------------------------------------------------

FAULTS = {
    "slow down": Fault("upsert", times=3, status=429),
    "slow down, for so long": Fault("upsert", times=3, status=429, retry_after="0.02"),
    "broken": Fault("upsert", times=3, status=500),
    "away": Fault("upsert", times=3, status=503, retry_after="0"),
    "answer lost": Fault("upsert", times=3, lost=True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_what_passes_costs_nothing(server: PineconeServer, indexes: PineconeIndexes, kind: str, fault: str) -> None:
    told = FAULTS[fault]
    server.faults.add(Fault(told.path, told.times, told.status, told.retry_after, lost=told.lost))
    index = indexes.dense if kind == "dense" else indexes.sparse
    assert written(index.upsert(NAMESPACE, map(record, range(150)))) == numbers(150)
    assert server.faults.left == 0
    assert held(server, kind) == numbers(150)


def test_an_answer_that_comes_too_late_is_asked_for_again(server: PineconeServer) -> None:
    indexes = open_at(server, pinecone_timeout=0.3)
    server.faults.add(Fault("upsert", delay=0.6))
    assert written(indexes.dense.upsert(NAMESPACE, map(record, range(10)))) == numbers(10)
    assert server.indexes["dense"].counted.batches[:2] == [10, 10]
    assert held(server, "dense") == numbers(10)
    indexes.close()


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}, {"lost": True}])
def test_reading_and_deleting_are_tried_again_too(
    server: PineconeServer, indexes: PineconeIndexes, fault: dict[str, int | bool]
) -> None:
    written(indexes.dense.upsert(NAMESPACE, map(record, range(150))))
    for path in ("query", "vectors/list", "vectors/fetch", "describe_index_stats", "vectors/update", "vectors/delete"):
        server.faults.add(Fault(path, **fault))  # type: ignore[arg-type]
    assert len(indexes.dense.query(NAMESPACE, vector=record(1).vector, top_k=9)) == 9
    assert sum(map(len, indexes.dense.ids(NAMESPACE))) == 150
    assert set(indexes.dense.fetch_metadata(NAMESPACE, ["3"])) == {"3"}
    assert indexes.dense.count(NAMESPACE) == 150
    assert written(indexes.dense.update_metadata(NAMESPACE, [("3", facts("New"))])) == ["3"]
    assert written(indexes.dense.delete(NAMESPACE, ["4"])) == ["4"]
    assert server.faults.left == 0
    assert len(held(server, "dense")) == 149


def test_what_was_acknowledged_before_a_failure_is_told(server: PineconeServer, indexes: PineconeIndexes) -> None:
    acknowledged = indexes.sparse.upsert(NAMESPACE, map(record, range(96 * 30)))
    told = next(acknowledged)
    server.faults.add(Fault("upsert", times=10_000, status=503))
    with pytest.raises(PineconeUnavailableError, match=r"Pinecone answers 503 \(upsert sparse\)"):
        told.extend(each for ids in acknowledged for each in ids)
    assert sorted(told, key=int) == held(server, "sparse")
    server.faults.clear()
    rest = [record(number) for number in range(96 * 30) if str(number) not in set(told)]
    written(indexes.sparse.upsert(NAMESPACE, rest))
    assert held(server, "sparse") == numbers(96 * 30)


def test_a_wait_that_is_too_long_is_left_to_a_later_run(server: PineconeServer, indexes: PineconeIndexes) -> None:
    server.faults.add(Fault("query", times=2, status=429, retry_after="3600"))
    with pytest.raises(PineconeUnavailableError) as caught:
        indexes.dense.query(NAMESPACE, vector=record(1).vector)
    assert caught.value.retry_after == 3600
    assert server.faults.left == 1


def test_somebody_who_waits_does_so_once_more(server: PineconeServer) -> None:
    config = pinecone_config(server, pinecone_query_timeout=0.4).for_queries
    indexes = open_indexes(config, Policy.of(pinecone_settings(server)), DIMENSIONS)
    server.faults.add(Fault("query", status=503))
    assert indexes.dense.query(NAMESPACE, vector=record(1).vector) == []
    for fault, tries in (
        (Fault("query", 9, 503), 2),
        (Fault("query", 9, 429, "1"), 1),
        (Fault("query", 9, delay=1), 1),
    ):
        server.faults.add(fault)
        with pytest.raises(PineconeUnavailableError):
            indexes.dense.query(NAMESPACE, vector=record(1).vector)
        assert server.faults.left == 9 - tries
        server.faults.clear()
    indexes.close()


def test_a_refusal_is_not_repeated(server: PineconeServer, indexes: PineconeIndexes) -> None:
    server.faults.add(Fault("upsert", times=2, status=400, message="bad vector"))
    with pytest.raises(PineconeRefusedError, match=r"refuses \(upsert dense\): 400 .*bad vector") as caught:
        written(indexes.dense.upsert(NAMESPACE, [record(1)]))
    assert caught.value.status == 400
    assert server.faults.left == 1


@pytest.mark.parametrize("lateness", [Lateness(reads=3), Lateness(seconds=0.2)], ids=["reads", "seconds"])
def test_what_is_acknowledged_may_be_seen_later(
    server: PineconeServer, indexes: PineconeIndexes, lateness: Lateness
) -> None:
    server.indexes["dense"].lateness = lateness
    assert written(indexes.dense.upsert(NAMESPACE, map(record, range(30)))) == numbers(30)
    assert indexes.dense.count(NAMESPACE) == 0
    assert written(indexes.dense.delete(NAMESPACE, ["5"])) == ["5"]
    server.settle()
    assert sorted(next(indexes.dense.ids(NAMESPACE)), key=int) == [each for each in numbers(30) if each != "5"]


def test_a_server_that_is_not_there() -> None:
    with PineconeServer() as server:
        config, policy = pinecone_config(server), Policy.of(pinecone_settings(server))
    with pytest.raises(PineconeUnavailableError, match=r"does not answer \(describe dense\)"):
        open_indexes(config, policy, DIMENSIONS)


def test_traffic_is_counted_where_it_is_sent(server: PineconeServer, indexes: PineconeIndexes) -> None:
    before = {name: (index.counted.total, index.counted.bytes) for name, index in server.indexes.items()}
    server.faults.add(Fault("upsert", times=2, status=429))
    server.faults.add(Fault("query", lost=True))
    written(indexes.dense.upsert(NAMESPACE, map(record, range(100))))
    indexes.dense.query(NAMESPACE, vector=record(1).vector)
    traffic = indexes.take_traffic()
    assert set(traffic) == {"dense"}
    counted = server.indexes["dense"].counted
    requests, sent = before["dense"]
    assert (traffic["dense"].requests, traffic["dense"].bytes) == (counted.total - requests, counted.bytes - sent)
    assert (traffic["dense"].records, traffic["dense"].throttled, traffic["dense"].requests) == (100, 2, 5)
    assert indexes.take_traffic() == {}


# --- the key and the network -------------------------------------------------------------------------------------


def test_the_key_is_shown_to_nobody(
    server: PineconeServer, indexes: PineconeIndexes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.faults.add(Fault("query", status=401, message="Invalid API Key: {key}"))
    with pytest.raises(PineconeRefusedError) as caught:
        indexes.dense.query(NAMESPACE, vector=record(1).vector)
    assert caught.value.remedy == "Correct PINECONE_API_KEY."
    told = "".join(traceback.format_exception(caught.value))
    shown = (told, caplog.text, repr(pinecone_config(server)), repr(indexes), repr(caught.value.__cause__.__dict__))
    assert not [each for each in shown if API_KEY in each]
    assert "Invalid API Key: (the key)" in told


def test_the_key_is_not_shown_by_a_packed_answer_either(server: PineconeServer) -> None:
    def quote(exchange: Exchange) -> None:
        told = f'{{"error": {{"code": "NO", "message": "not {exchange.headers["api-key"]}"}}}}'
        exchange.reply(401, gzip.compress(told.encode()), content_encoding="gzip", content_type="application/json")

    with WebServer(quote) as gateway, pytest.raises(PineconeRefusedError, match=r"401 not \(the key\)"):
        open_at(server, pinecone_controller_host=gateway.url)


def test_an_answer_that_cannot_be_unpacked_is_asked_for_again(server: PineconeServer) -> None:
    def garble(exchange: Exchange) -> None:
        exchange.reply(200, b"no gzip", content_encoding="gzip")

    with WebServer(garble) as gateway:
        with pytest.raises(PineconeUnavailableError):
            open_at(server, pinecone_controller_host=gateway.url)
        assert len(gateway.asked) == 4


def test_an_answer_that_trickles_in_has_one_deadline(server: PineconeServer) -> None:
    def trickle(exchange: Exchange) -> None:
        answer = b"HTTP/1.1 404 Told\r\nContent-Length: 2\r\nX-Pad: 12345\r\n\r\n{}"
        for start in range(0, len(answer), 8):
            exchange.send(answer[start : start + 8])
            time.sleep(0.1)

    with WebServer(trickle) as gateway:
        chosen = {"pinecone_controller_host": gateway.url, "pinecone_timeout": 0.3}
        config = replace(pinecone_config(server, **chosen), patience=Patience(tries=1))
        with pytest.raises(PineconeUnavailableError, match="does not answer"):
            open_indexes(config, Policy.of(pinecone_settings(server)), DIMENSIONS)


def test_a_wrong_key_is_said_to_be_wrong(server: PineconeServer) -> None:
    with pytest.raises(PineconeRefusedError, match="401 Invalid API Key"):
        open_at(server, pinecone_api_key="another")


def test_the_key_is_not_sent_in_the_clear(server: PineconeServer) -> None:
    asked = len(server.asked)
    with pytest.raises(PineconeError, match="would get the key unencrypted") as caught:
        open_at(server, allowed_private_hosts="")
    assert "ALLOWED_PRIVATE_HOSTS" in caught.value.remedy
    assert len(server.asked) == asked


def test_it_goes_over_tls_that_is_believed(tmp_path: Path) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    with PineconeServer(tls) as server:
        server.create_dense("dense", DIMENSIONS)
        server.create_integrated("sparse")
        indexes = open_at(server, ca_bundle=tmp_path / "authority.pem")
        assert written(indexes.dense.upsert(NAMESPACE, [record(1)])) == ["1"]
        indexes.close()
        asked = len(server.asked)
        with pytest.raises(PineconeError, match=r"TLS failed \(describe dense\)") as caught:
            open_at(server)
        assert "CA_BUNDLE" in caught.value.remedy
        assert len(server.asked) == asked


def test_private_addresses_are_closed_here_too(server: PineconeServer) -> None:
    with pytest.raises(PineconeError, match=r"127\.0\.0\.1 is loopback"):
        open_at(server, pinecone_controller_host="https://127.0.0.1:9", allowed_private_hosts="")


def test_proxies_of_the_environment_are_not_used(server: PineconeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    indexes = open_at(server)
    assert indexes.dense.count(NAMESPACE) == 0
    indexes.close()


def test_without_the_sdk_there_is_a_remedy(server: PineconeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("session", "transport", "recognising"):
        monkeypatch.delitem(sys.modules, f"app.vectors.indexes.pinecone.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "pinecone", None)
    with pytest.raises(ConfigurationError) as caught:
        open_at(server)
    assert caught.value.remedy == "Run `pip install discovery-node[pinecone]`."


def test_an_sdk_that_sends_in_another_way_is_refused() -> None:
    from pinecone import Pinecone

    from app.vectors.indexes.pinecone.transport import carry

    client = Pinecone(api_key="key")
    del client._http
    with pytest.raises(ConfigurationError, match="cannot be guarded"):
        carry(client, transport=None)  # type: ignore[arg-type]


# --- recognising and creating ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def various(shared: tuple[PineconeServer, PineconeIndexes]) -> PineconeServer:
    """With indexes of other kinds besides."""
    server, _ = shared
    server.create_dense("narrow", 8)
    server.create_dense("euclidean", DIMENSIONS, "euclidean")
    server.create_integrated("embedding", "llama-text-embed-v2")
    server.create_integrated("reserved", text_field="brand")
    server.create("own-sparse", {"_sparse_values": {"type": "sparse_vector"}})
    server.create("documents", {"body": {"type": "string", "full_text_search": {}}})
    field = {"type": "dense_vector", "dimension": DIMENSIONS, "metric": "cosine"}
    pods = {"deployment_type": "pod", "environment": "us-east1-gcp", "pod_type": "p1.x1", "replicas": 1, "shards": 1}
    server.create("pods", {"_values": field}, pods)
    return server


@pytest.mark.parametrize(
    ("dense", "sparse", "told"),
    [
        ("absent", "sparse", "There is no index absent"),
        ("dense", "absent", "There is no index absent"),
        ("narrow", "sparse", "has 8 dimensions, vectors of the configured model have 16"),
        ("euclidean", "sparse", "compares by euclidean"),
        ("sparse", "dense", "embeds texts as sparse vectors, dense ones are needed"),
        ("dense", "narrow", "narrow holds dense vectors, sparse ones are needed"),
        ("dense", "embedding", "embeds texts as dense vectors, sparse ones are needed"),
        ("dense", "own-sparse", "own-sparse takes sparse vectors, and this node has none"),
        ("own-sparse", "sparse", "takes no dense vectors"),
        ("documents", "sparse", r"holds documents with a schema \(body\)"),
        ("pods", "sparse", "runs on pods"),
        ("dense", "reserved", "from the field 'brand'"),
    ],
)
def test_an_unsuitable_index_is_told_with_a_remedy(various: PineconeServer, dense: str, sparse: str, told: str) -> None:
    with pytest.raises(UnsuitableIndexError, match=told) as caught:
        open_at(various, pinecone_dense_index=dense, pinecone_sparse_index=sparse)
    assert "vectors setup" in caught.value.remedy


def test_cosine_will_do_for_vectors_of_length_one(server: PineconeServer) -> None:
    server.create_dense("cosine", DIMENSIONS, "cosine")
    indexes = open_at(server, pinecone_dense_index="cosine")
    assert (indexes.dense.kind, indexes.dense.takes) == ("dense", "vectors")
    indexes.close()


def test_an_index_that_is_not_ready_is_not_used() -> None:
    with PineconeServer() as server:
        server.initializing = 9
        server.create_dense("dense", DIMENSIONS)
        with pytest.raises(PineconeUnavailableError, match=r"dense is not ready yet \(Initializing\)"):
            open_at(server)


def test_missing_indexes_are_created_and_waited_for() -> None:
    with PineconeServer() as server:
        server.initializing = 3
        server.faults.add(Fault("/indexes", times=2, status=503))
        config, policy = pinecone_config(server), Policy.of(pinecone_settings(server))
        assert create_missing(config, policy, DIMENSIONS) == ["dense", "sparse"]
        assert create_missing(config, policy, DIMENSIONS) == []
        indexes = open_indexes(config, policy, DIMENSIONS)
        assert (indexes.dense.takes, indexes.sparse.takes) == ("vectors", "texts")
        assert (server.indexes["dense"].metric, server.indexes["sparse"].model) == (
            "dotproduct", "pinecone-sparse-english-v0",
        )  # fmt: skip
        indexes.close()


def test_an_index_is_created_once_though_the_answer_is_lost(server: PineconeServer) -> None:
    config, policy = pinecone_config(server, pinecone_dense_index="new"), Policy.of(pinecone_settings(server))
    server.asked.clear()
    server.faults.add(Fault("/indexes/new"))
    server.faults.add(Fault("/indexes/sparse"))
    server.faults.add(Fault("/indexes", lost=True))
    assert create_missing(config, policy, DIMENSIONS) == ["new"]
    assert server.asked.count(("POST", "/indexes")) == 2


# --- settings ----------------------------------------------------------------------------------------------------


def test_the_environment_is_said_to_be_obsolete_once(server: PineconeServer) -> None:
    assert obsolete_settings(pinecone_settings(server)) is None
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            pinecone_config(server, pinecone_environment="us-west1-gcp")
    assert [each["told"].split(" and ")[0] for each in logs] == ["PINECONE_ENVIRONMENT is obsolete"]


@pytest.mark.parametrize(
    "chosen", [{"pinecone_api_key": None}, {"pinecone_dense_index": None}, {"pinecone_sparse_index": "dense"}]
)
def test_settings_that_do_not_suffice(server: PineconeServer, chosen: dict[str, str | None]) -> None:
    with pytest.raises(ConfigurationError, match=r"PINECONE_DENSE_INDEX|Pinecone needs a key"):
        pinecone_config(server, **chosen)
