"""What should I buy? Products by meaning and by words, within filters, as the catalogue knows them now."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, text

from app.cmp.text import clean, cut_bytes
from app.services.ranked import Explanation, Place, Ranking, find
from app.services.scope import Scope, resolve
from app.vectors.embedders import Embedder
from app.vectors.indexes.base import SearchFilters
from app.vectors.ranking import DEPTH

__all__ = [
    "Answer", "Asked", "Explanation", "Place", "SearchFilters", "SearchHit", "Variant", "answered", "first_page",
    "further_page", "search",
]  # fmt: skip

MAX_QUERY_BYTES = 1000
"""What lies beyond is not searched for: PostgreSQL takes words of 2 kB, the embedder 256 tokens."""

SHOWN_DESCRIPTION = 500
"""Characters of a product's description that a hit has; the product itself has it whole."""

MAX_VARIANTS = 50
"""Further variants that a hit lists."""

# The cheapest of those in stock, else the first.
_BEST_OFFER = """coalesce(o.availability = ANY(:in_stock_names), false) DESC,
    CASE WHEN o.availability = ANY(:in_stock_names) THEN o.price END, o.ordinal"""


@dataclass(frozen=True)
class Variant:
    """Another product of a hit's group that passes the filters too, with the offer that answers best."""

    urn: str
    name: str
    sku: str | None
    price: Decimal | None
    currency: str | None
    availability: str | None
    url: str | None


@dataclass(frozen=True)
class SearchHit:
    """A live product with the offer that answers best: of those that pass the filters the cheapest in stock, else the
    first. `brand` is what the product calls it; price, currency and availability are None without an offer. Of a group
    it is the best, with the others as `variants`."""

    urn: str
    name: str
    brand: str | None
    category: str | None
    price: Decimal | None
    currency: str | None
    availability: str | None
    url: str | None
    score: float
    organization: str
    sku: str | None
    description: str | None = None
    image: str | None = None
    variants: tuple[Variant, ...] = ()
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Asked:
    """What the first page of a search was asked with."""

    embedder: Embedder
    query: str
    limit: int


@dataclass(frozen=True)
class Answer:
    """The best hits, and the ranking whose first they are: with `further_page` it is leafed through whatever happens to
    the catalogue meanwhile. `is_degraded` when there was no vector for the query, whose words and identifiers
    alone decided, or when the index did not answer, so that identifiers alone did."""

    hits: list[SearchHit]
    ranking: Ranking
    is_degraded: bool = False


def search(
    connection: Connection, embedder: Embedder, query: str, filters: SearchFilters | None = None, limit: int = 20
) -> list[SearchHit]:
    """The hits of `answered`."""
    return answered(connection, embedder, query, filters, limit).hits


def answered(
    connection: Connection, embedder: Embedder, query: str, filters: SearchFilters | None = None, limit: int = 20,
    most: int | None = None,
) -> Answer:  # fmt: skip
    """The best hits for a query; an empty one browses, the newest products first.

    Products whose SKU, GTIN or MPN stands in the query come first; then those of the brand whose name it is; then what
    two rankings fused give: by vector, and by full text. Of a product group there is one hit. As many hits as exist are
    returned, up to the limit; of the ranking up to `most`, if that is more. Raises `OtherModelError` when the index was
    built with another model than the embedder's.
    """
    scope = resolve(connection, filters or SearchFilters())
    if scope is None or limit < 1:
        return Answer([], [])
    found = find(connection, embedder, scope, _cleaned(query), limit, most)
    shown = found.ranking[:limit]
    hits = _hits(connection, scope, shown, found.explain([product for product, _ in shown]))
    return Answer(hits, found.ranking, found.is_degraded)


def first_page(connection: Connection, embedder: Embedder, query: str, filters: SearchFilters, limit: int) -> Answer:
    """The same with a ranking of up to `DEPTH` products."""
    return answered(connection, embedder, query, filters, limit, DEPTH)


def further_page(
    connection: Connection, filters: SearchFilters, products: Sequence[int], asked: Asked | None = None
) -> list[SearchHit]:
    """The hits of a part of a ranking as the catalogue knows them now. What it no longer has is left out. Without
    scores, unless it is said what was `asked`: that is searched for once more, and tells scores and places as they are
    by now; of what it does not find again it tells none."""
    scope = resolve(connection, filters)
    if scope is None:
        return []
    if asked is None:
        return _hits(connection, scope, [(product, 0.0) for product in products], {})
    found = find(connection, asked.embedder, scope, _cleaned(asked.query), asked.limit, DEPTH)
    scores = dict(found.ranking)
    scored = [(product, scores.get(product, 0.0)) for product in products]
    return _hits(connection, scope, scored, found.explain([product for product in products if product in scores]))


def _cleaned(query: str) -> str:
    return cut_bytes(clean(query).strip(), MAX_QUERY_BYTES)


def _hits(
    connection: Connection, scope: Scope, scored: Ranking, explanations: Mapping[int, Explanation]
) -> list[SearchHit]:
    """What is shown of each product, as the catalogue knows it now, in the order given."""
    rows = connection.execute(
        text(f"""
            SELECT p.id, p.group_id, p.urn, p.name, coalesce(p.brand_name, b.name) AS brand, c.path AS category,
                o.price, o.currency, o.availability, coalesce(p.url, o.url) AS url, found.score,
                g.urn AS organization, p.sku,
                left(p.description, :shown) AS description, p.image
            FROM unnest(CAST(:ids AS bigint[]), CAST(:scores AS float8[])) WITH ORDINALITY AS found (id, score, place)
            JOIN products p ON p.id = found.id AND p.deleted_at IS NULL
            JOIN organizations g ON g.id = p.organization_id
            LEFT JOIN brands b ON b.id = p.brand_id
            LEFT JOIN categories c ON c.id = p.category_id
            {_best_offer(scope)}
            ORDER BY found.place
            """),  # noqa: S608 - this package's own fragments
        {
            **scope.parameters,
            "ids": [product for product, _ in scored],
            "scores": [score for _, score in scored],
            "shown": SHOWN_DESCRIPTION,
        },
    ).all()
    variants = _variants(connection, scope, [row.id for row in rows if row.group_id is not None])
    hits = []
    for row in rows:
        shown = dict(row._mapping)
        product = shown.pop("id")
        del shown["group_id"]
        hits.append(SearchHit(**shown, variants=tuple(variants[product]), explanation=explanations.get(product)))
    return hits


def _best_offer(scope: Scope) -> str:
    return f"""LEFT JOIN LATERAL (
            SELECT * FROM offers o WHERE o.product_id = p.id AND {scope.offers} ORDER BY {_BEST_OFFER} LIMIT 1
        ) o ON true"""  # noqa: S608 - this package's own fragments


def _variants(connection: Connection, scope: Scope, products: Sequence[int]) -> defaultdict[int, list[Variant]]:
    """The others of each product's group, by product, the first published first."""
    found: defaultdict[int, list[Variant]] = defaultdict(list)
    if products:
        rows = connection.execute(
            text(f"""
                SELECT best.id, others.* FROM products best CROSS JOIN LATERAL (
                    SELECT p.urn, p.name, p.sku, o.price, o.currency, o.availability, coalesce(p.url, o.url) AS url
                    FROM products p {_best_offer(scope)}
                    WHERE p.group_id = best.group_id AND p.id <> best.id AND {scope.products} ORDER BY p.id LIMIT :most
                ) AS others
                WHERE best.id = ANY(CAST(:ids AS bigint[]))
                """),  # noqa: S608 - this package's own fragments
            {**scope.parameters, "ids": products, "most": MAX_VARIANTS},
        )
        for product, *shown in rows:
            found[product].append(Variant(*shown))
    return found
