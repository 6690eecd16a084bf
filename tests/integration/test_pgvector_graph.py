"""The graph: built in parallel where that fits, and what passes the filters is found through it as by comparing all."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection
from structlog.testing import capture_logs

from app.db.session import LiveDatabase, driver_connection
from app.vectors.indexes import finding, graph
from app.vectors.indexes.base import Condition
from app.vectors.indexes.pgvector import PgVectorIndex
from tests.support.embedders import DIMENSIONS

NUMBER = 10_000
FRACTIONS = (1.0, 0.1, 0.01, 0.001, 0.0001)
_PRODUCTS = """
    INSERT INTO products (id, organization_id, urn, name, gtins, content_hash, text_hash, raw) OVERRIDING SYSTEM VALUE
    SELECT i, 1, 'urn:' || i, 'lamp', '{}', '', decode(md5(i::text), 'hex'), '' FROM generate_series(1, %(number)s) i
    """


@pytest.fixture(scope="module")
def filled(shared_database: LiveDatabase) -> Iterator[tuple[LiveDatabase, PgVectorIndex, np.ndarray]]:
    """A table of vectors of products, ids from 1 on, with a graph; and the vectors."""
    vectors = np.random.default_rng(7).normal(size=(NUMBER, DIMENSIONS))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    index = PgVectorIndex(999_999, DIMENSIONS)
    with shared_database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM products")
        connection.exec_driver_sql(_PRODUCTS, {"number": NUMBER})
        index.create(connection)
        fill(connection, index, vectors)
        assert index.ensure_search_structures(connection)
    yield shared_database, index, vectors
    with shared_database.transaction() as connection:
        index.drop(connection)
        connection.exec_driver_sql("DELETE FROM products")


def fill(connection: Connection, index: PgVectorIndex, vectors: np.ndarray) -> None:
    connection.exec_driver_sql(
        f"""
        INSERT INTO {index.table}
        SELECT p.id, 1, p.text_hash, CAST(v.vector AS halfvec({DIMENSIONS})), to_tsvector('english', p.name)
        FROM unnest(CAST(%(vectors)s AS text[])) WITH ORDINALITY AS v (vector, id) JOIN products p ON p.id = v.id
        """,
        {"vectors": [str(vector.round(6).tolist()) for vector in vectors]},
    )


@given(
    fraction=st.sampled_from(FRACTIONS),
    limit=st.sampled_from([1, 20, 200]),
    seed=st.integers(0, 1000),
    few=st.sampled_from([5, finding.MAX_EXACT]),
)
def test_as_many_as_exist_are_found_and_the_best_of_them(filled, fraction, limit, seed, few):
    """Whatever part passes, and whether it is compared one by one or looked for in the graph."""
    database, index, vectors = filled
    query = np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
    query /= np.linalg.norm(query)
    every = round(1 / fraction)
    passing = [number for number in range(1, NUMBER + 1) if number % every == seed % every]
    condition = Condition(f"p.deleted_at IS NULL AND p.id % {every} = {seed % every}", is_filter=fraction < 1)

    with pytest.MonkeyPatch.context() as patch, database.transaction() as connection:
        patch.setattr(finding, "MAX_EXACT", few)
        found = index.candidates(connection, "lamp", query, condition, limit).dense

    scores = vectors @ query
    exact = sorted(passing, key=lambda number: -scores[number - 1])[:limit]
    assert len(found) == len(set(found)) == len(exact)
    assert set(found) <= set(passing)
    worst = scores[exact[-1] - 1] - 0.002  # half precision
    assert sum(scores[number - 1] >= worst for number in found) >= 0.95 * len(exact)


def rebuilt(database: LiveDatabase, index: PgVectorIndex) -> list[str]:
    """Builds the graph anew; what the server says while it does."""
    told: list[str] = []
    with database.transaction() as connection:
        driver = driver_connection(connection)

        def note(notice) -> None:
            told.append(notice.message_primary)

        driver.add_notice_handler(note)
        connection.exec_driver_sql(f"DROP INDEX {index.table}_hnsw, {index.table}_tsv")
        connection.exec_driver_sql("SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL client_min_messages = debug1")
        try:
            assert index.ensure_search_structures(connection)
        finally:
            driver.remove_notice_handler(note)
        assert index.is_indexed(connection)
    return told


def test_it_is_built_in_parallel(filled):
    database, index, _ = filled
    assert any("parallel workers" in each for each in rebuilt(database, index) if each.startswith("using"))


def test_it_is_built_by_one_process_where_shared_memory_is_short(filled, monkeypatch):
    database, index, _ = filled
    monkeypatch.setattr(graph, "fitting_memory", lambda *_: 1_500_000)  # megabytes that no machine of ours has

    with capture_logs() as logged:
        rebuilt(database, index)

    assert [each["event"] for each in logged] == ["too little shared memory for a parallel build"]


@pytest.mark.parametrize(
    ("rows", "dimensions", "workers", "granted", "wanted"),
    [
        (5_000, 384, 2, 64, 96),
        (50_000, 384, 2, 64, 96),
        (200_000, 384, 2, 64, 335),
        (1_000_000, 384, 2, 64, 512),
        (1_000_000, 384, 2, 4096, 1680),
        (1_000_000, 1536, 7, 2048, 2048),
        (5_000, 384, 0, 64, 32),
    ],
)
def test_no_more_memory_is_asked_for_than_the_graph_takes(rows, dimensions, workers, granted, wanted):
    assert graph.fitting_memory(rows, dimensions, workers, granted) == pytest.approx(wanted, abs=4)
