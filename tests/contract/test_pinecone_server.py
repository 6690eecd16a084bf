"""The tests' own Pinecone: the official SDK finds there what it would find at Pinecone's, with its limits."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pinecone import Index, NotFoundError, Pinecone
from pinecone.errors.exceptions import ApiError

from tests.support.pinecone import API_KEY, PineconeServer
from tests.support.pinecone.filtering import passes
from tests.support.pinecone.limits import MAX_BYTES, MAX_METADATA

OWN, TEXTS, OWN_SPARSE = "own", "texts", "own-sparse"
HEADERS = {"Api-Key": API_KEY, "X-Pinecone-Api-Version": "2026-07"}
Send = Callable[[str, str, dict[str, Any]], httpx.Response]


@pytest.fixture(scope="module")
def server() -> Iterator[PineconeServer]:
    with PineconeServer() as server:
        server.create_dense(OWN, 3, "cosine")
        server.create_integrated(TEXTS)
        server.create(OWN_SPARSE, {"_sparse_values": {"type": "sparse_vector"}})
        yield server


@pytest.fixture(scope="module")
def client(server: PineconeServer) -> Iterator[Pinecone]:
    with Pinecone(api_key=API_KEY, host=server.url) as client:
        yield client


@pytest.fixture
def open_index(client: Pinecone) -> Iterator[Callable[[str], Index]]:
    opened: list[Index] = []

    def open_one(name: str) -> Index:
        opened.append(client.index(name))
        return opened[-1]

    yield open_one
    for index in opened:
        index.close()


@pytest.fixture
def send(client: Pinecone) -> Send:
    """What the SDK itself would not send."""

    def post(name: str, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{client.indexes.describe(name).host}/{path}", json=body, headers=HEADERS)

    return post


def vector(number: int, **metadata: Any) -> dict[str, Any]:
    return {"id": f"v{number:04}", "values": [1.0, float(number), 0.5], "metadata": metadata}


def test_indexes_are_created_described_listed_and_deleted(client: Pinecone, server: PineconeServer) -> None:
    schema = {"fields": {"_values": {"type": "dense_vector", "dimension": 7, "metric": "dotproduct"}}}
    made = client.indexes.create(name="made", schema=schema)
    assert (made.dimension, made.metric, made.status.ready) == (7, "dotproduct", True)
    embed = {"model": "multilingual-e5-large", "field_map": {"text": "chunk"}}
    hosted = client.indexes.create_for_model(name="hosted", cloud="gcp", region="us-central1", embed=embed)
    assert hosted.schema.fields["chunk"].model == "multilingual-e5-large"  # type: ignore[union-attr]
    assert {"made", "hosted"} <= {each.name for each in client.indexes.list()}
    with pytest.raises(ApiError, match="already exists"):
        client.indexes.create(name="made", schema=schema)
    for name in ("made", "hosted"):
        client.indexes.delete(name)
        with pytest.raises(NotFoundError):
            client.indexes.describe(name)


def test_vectors_are_written_found_listed_and_deleted(open_index: Callable[[str], Index]) -> None:
    index = open_index(OWN)
    assert index.upsert(vectors=[vector(n, even=n % 2 == 0) for n in range(250)], namespace="a").upserted_count == 250
    found = index.query(
        vector=[1, 9, 0.5], top_k=2, namespace="a", filter={"even": False}, include_metadata=True, include_values=True
    )
    assert [(each.id, each.metadata) for each in found.matches] == [
        ("v0009", {"even": False}), ("v0011", {"even": False}),
    ]  # fmt: skip
    assert found.matches[0].score == pytest.approx(1)
    assert index.query(id="v0003", top_k=1, namespace="a").matches[0].id == "v0003"
    assert [len(page.vectors) for page in index.list(namespace="a", prefix="v01", limit=60)] == [60, 40]
    index.update(id="v0001", set_metadata={"even": True, "more": "x"}, values=[5, 5, 5], namespace="a")
    fetched = index.fetch(ids=["v0001", "absent"], namespace="a").vectors
    assert {name: (each.values, each.metadata) for name, each in fetched.items()} == {
        "v0001": ([5, 5, 5], {"even": True, "more": "x"})
    }
    index.delete(ids=["v0001"], namespace="a")
    index.delete(filter={"even": True}, namespace="a")
    stats = index.describe_index_stats()
    assert (stats.namespaces["a"].vector_count, stats.dimension, stats.vector_type) == (124, 3, "dense")
    index.delete(delete_all=True, namespace="a")
    assert index.describe_namespace(name="a").record_count == 0
    index.delete_namespace(name="a")
    assert [each.name for each in index.list_namespaces_paginated().namespaces] == []
    with pytest.raises(NotFoundError):
        index.delete(ids=["v1"], namespace="a")


def test_texts_are_embedded_and_found_by_their_words(open_index: Callable[[str], Index]) -> None:
    index = open_index(TEXTS)
    records = [{"_id": "1", "text": "red coffee cups", "colour": "red"}, {"_id": "2", "text": "a blue cup", "n": 1}]
    index.upsert_records(namespace="b", records=records)
    hits = index.search(namespace="b", top_k=5, inputs={"text": "blue cup"}).result.hits
    assert [(each.id, each.fields) for each in hits] == [
        ("2", {"text": "a blue cup", "n": 1}), ("1", {"text": "red coffee cups", "colour": "red"}),
    ]  # fmt: skip
    hits = index.search(namespace="b", top_k=5, inputs={"text": "cup"}, filter={"n": {"$exists": True}}, fields=["n"])
    assert [(each.id, each.fields) for each in hits.result.hits] == [("2", {"n": 1})]
    assert index.search(namespace="b", top_k=5, inputs={"text": "spoon"}).result.hits == []
    assert index.describe_index_stats().vector_type == "sparse"


def test_sparse_vectors_compare_by_what_they_share(open_index: Callable[[str], Index]) -> None:
    index = open_index(OWN_SPARSE)
    values = {"1": {"indices": [1, 2], "values": [1.0, 2.0]}, "2": {"indices": [2, 3], "values": [5.0, 1.0]}}
    index.upsert(vectors=[{"id": name, "sparse_values": sparse} for name, sparse in values.items()])
    found = index.query(sparse_vector={"indices": [2, 9], "values": [2.0, 1.0]}, top_k=3).matches
    assert [(each.id, each.score) for each in found] == [("2", 10), ("1", 4)]


def _text(size: int) -> str:
    return "x" * size


SPARSE = {"indices": [1], "values": [1]}
REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vectors": (OWN, "vectors/upsert", {"vectors": [vector(n) for n in range(1001)]}),
    "bytes": (OWN, "vectors/upsert", {"vectors": [vector(n, text=_text(40_000)) for n in range(MAX_BYTES // 40_000)]}),
    "metadata": (OWN, "vectors/upsert", {"vectors": [vector(1, text=_text(MAX_METADATA))]}),
    "null": (OWN, "vectors/upsert", {"vectors": [vector(1, key=None)]}),
    "nested": (OWN, "vectors/upsert", {"vectors": [vector(1, key={"a": 1})]}),
    "numbers in a list": (OWN, "vectors/upsert", {"vectors": [vector(1, key=[1, 2])]}),
    "long id": (OWN, "vectors/upsert", {"vectors": [vector(1) | {"id": _text(513)}]}),
    "other id": (OWN, "vectors/upsert", {"vectors": [vector(1) | {"id": "ü"}]}),
    "dimension": (OWN, "vectors/upsert", {"vectors": [vector(1) | {"values": [1, 2]}]}),
    "zero": (OWN, "vectors/upsert", {"vectors": [vector(1) | {"values": [0, 0, 0]}]}),
    "sparse to dense": (OWN, "vectors/upsert", {"vectors": [vector(1) | {"sparseValues": SPARSE}]}),
    "dense to sparse": (OWN_SPARSE, "vectors/upsert", {"vectors": [vector(1)]}),
    "twice an index": (
        OWN_SPARSE, "vectors/upsert", {"vectors": [{"id": "1", "sparseValues": {"indices": [1, 1], "values": [1, 1]}}]}
    ),
    "few values": (
        OWN_SPARSE, "vectors/upsert", {"vectors": [{"id": "1", "sparseValues": {"indices": [1, 2], "values": [1]}}]}
    ),
    "top_k": (OWN, "query", {"vector": [1, 2, 3], "topK": 10_001}),
    "query dimension": (OWN, "query", {"vector": [1, 2], "topK": 1}),
    "operator": (OWN, "query", {"vector": [1, 2, 3], "topK": 1, "filter": {"key": {"$like": "x"}}}),
    "order of strings": (OWN, "query", {"vector": [1, 2, 3], "topK": 1, "filter": {"key": {"$gt": "x"}}}),
    "empty filter": (OWN, "vectors/delete", {"filter": {}}),
    "empty and": (OWN, "query", {"vector": [1, 2, 3], "topK": 1, "filter": {"$and": []}}),
    "in no list": (OWN, "query", {"vector": [1, 2, 3], "topK": 1, "filter": {"key": {"$in": "x"}}}),
    "ids": (OWN, "vectors/delete", {"ids": [str(number) for number in range(1001)]}),
    "selectors": (OWN, "vectors/delete", {"ids": ["1"], "deleteAll": True}),
    "update": (OWN, "vectors/update", {"id": "1", "setMetadata": {"key": None}}),
    "text to vectors": (OWN, "records/namespaces/n/search", {"query": {"top_k": 1, "inputs": {"text": "cup"}}}),
    "empty text": (TEXTS, "records/namespaces/n/search", {"query": {"top_k": 1, "inputs": {"text": " "}}}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_beyond_a_limit_is_refused(send: Send, server: PineconeServer, name: str) -> None:
    index, path, body = REFUSED[name]
    before = server.indexes[index].counted.records
    assert send(index, path, body).status_code == (413 if name == "bytes" else 400)
    assert server.indexes[index].counted.records == before


@pytest.mark.parametrize(
    "records",
    [
        [{"_id": str(number), "text": "cup"} for number in range(97)],
        [{"_id": "1"}],
        [{"_id": "1", "text": " "}],
        [{"_id": "1", "text": _text(MAX_METADATA)}],
    ],
    ids=["number", "no text", "empty text", "size"],
)
def test_records_have_limits_too(open_index: Callable[[str], Index], records: list[dict[str, Any]]) -> None:
    with pytest.raises(ApiError) as caught:
        open_index(TEXTS).upsert_records(namespace="n", records=records)
    assert caught.value.status_code == 400


def test_a_request_needs_key_and_version(server: PineconeServer) -> None:
    assert httpx.get(f"{server.url}/indexes", headers=HEADERS).status_code == 200
    assert httpx.get(f"{server.url}/indexes", headers=HEADERS | {"Api-Key": "other"}).status_code == 401
    assert httpx.get(f"{server.url}/indexes", headers={"Api-Key": API_KEY}).status_code == 400


METADATA = {"name": "cup", "price": 9.5, "in_stock": True, "tags": ["a", "b"]}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"name": "cup"}, True), ({"name": {"$eq": "Cup"}}, False), ({"name": {"$ne": "pot"}}, True),
        ({"price": {"$gt": 9.5}}, False), ({"price": {"$gte": 9.5, "$lt": 10}}, True), ({"price": {"$lte": 9}}, False),
        ({"tags": "a"}, True), ({"tags": {"$in": ["c", "b"]}}, True), ({"tags": {"$nin": ["a", "x"]}}, False),
        ({"tags": {"$ne": "a"}}, False), ({"absent": {"$exists": False}}, True), ({"name": {"$exists": False}}, False),
        ({"absent": {"$lt": 1}}, False), ({"in_stock": True}, True), ({"in_stock": 1}, False),
        ({"$or": [{"name": "pot"}, {"price": 9.5}]}, True), ({"$and": [{"name": "cup"}, {"price": 1}]}, False),
        ({"name": "cup", "in_stock": False}, False),
    ],
    ids=str,
)  # fmt: skip
def test_the_filter_language(condition: dict[str, Any], *, expected: bool) -> None:
    assert passes(METADATA, condition) is expected
