"""The short version of the searching parts of `make bench`."""

import pytest

from app.db.session import LiveDatabase
from bench import catalogues
from bench.catalogues import catalogue
from bench.place import Bench
from bench.recall import FILTERS
from bench.search import LIMIT, searching

PRODUCTS = 120


@pytest.fixture(scope="module")
def bench(server_url, tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"), server_url)


@pytest.fixture(scope="module")
def made(bench):
    return catalogue(bench, PRODUCTS)


def test_searches_find_what_passes_each_filter(made):
    with searching(made.url, made.texts(PRODUCTS), warm_up=5) as searcher:
        for name, filters in FILTERS.items():
            passing = searcher.passing(filters)
            recall = searcher.recall(filters, queries=5)
            found, hits = searcher.round(filters, clients=2, queries=6)

            assert (recall.mean, recall.short, recall.queries) == (1, 0, 5), name
            assert hits == [min(LIMIT, passing.hits)] * 6, name
            assert 0 < found.p50 <= found.p95
        assert searcher.passing(FILTERS["no filter"]).products == PRODUCTS
        assert searcher.passing(FILTERS["no filter"]).hits < PRODUCTS  # variants are one hit
        assert 0 < searcher.passing(FILTERS["10 %, by price"]).products < PRODUCTS / 3


def test_a_catalogue_that_is_there_is_taken_as_it_is(bench, made):
    database = LiveDatabase(made.url)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE products SET mpn = 'of before' WHERE id = (SELECT min(id) FROM products)")
    database.engine.dispose()

    again = catalogue(bench, PRODUCTS)

    assert again == made
    database = LiveDatabase(again.url)
    with database.transaction() as connection:
        marked = connection.exec_driver_sql("SELECT count(*) FROM products WHERE mpn = 'of before'").scalar_one()
    database.engine.dispose()
    assert marked == 1


def test_a_large_one_has_vectors_mixed_of_some(bench, monkeypatch):
    monkeypatch.setattr(catalogues, "EMBEDDED", 10)
    monkeypatch.setattr(catalogues, "SEEDS", 8)

    made = catalogue(bench, 30)

    assert made.throughput is None
    with searching(made.url, made.texts(30), warm_up=0) as searcher:
        recall = searcher.recall(FILTERS["no filter"], queries=3)
    assert (recall.mean, recall.short) == (1, 0)
