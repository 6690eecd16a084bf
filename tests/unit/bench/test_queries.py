from itertools import islice

from app.services.asking import QUERY_VECTORS
from bench.queries import distinct_queries

TEXTS = [" ".join(f"Word{number}-{place}" for place in range(20)) for number in range(500)]


def test_no_query_comes_twice():
    queries = list(islice(distinct_queries(TEXTS), QUERY_VECTORS * 2))

    assert len(set(queries)) == len(queries)
    assert {len(query.split()) for query in queries} == {2, 3, 4, 5, 6}


def test_queries_are_of_words_that_stand_together():
    for query in islice(distinct_queries(TEXTS), 50):
        assert any(query in text.lower() for text in TEXTS)


def test_words_that_stand_everywhere_are_not_asked_for():
    texts = [f"Brand {text}" for text in TEXTS]

    assert not any("brand" in query.split() for query in islice(distinct_queries(texts), 200))


def test_the_same_seed_asks_the_same():
    assert list(islice(distinct_queries(TEXTS), 20)) == list(islice(distinct_queries(TEXTS), 20))
    assert list(islice(distinct_queries(TEXTS), 20)) != list(islice(distinct_queries(TEXTS, seed=1), 20))
