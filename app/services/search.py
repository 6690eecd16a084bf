"""What should I buy? Products by meaning and by words, within filters, as the catalogue knows them now."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from app.cmp.availability import IN_STOCK
from app.cmp.categories import SEPARATOR, normalize_path
from app.cmp.text import clean, cut_bytes
from app.cmp.urns import normalize_organization_urn
from app.core.errors import ConfigurationError
from app.services.generations import live_generation, searched_generation
from app.vectors.embedders import Embedder, EmbedderIdentity, EmbeddingUnavailableError
from app.vectors.fusion import reciprocal_rank_fusion
from app.vectors.indexes.base import Condition, Filters

log = structlog.get_logger()

DEPTH = 200
"""Candidates of each ranking; more when more hits are asked for."""

MAX_QUERY_BYTES = 1000
"""What lies beyond is not searched for: PostgreSQL takes words of 2 kB, the embedder 256 tokens."""

QUERY_VECTORS = 4096
"""Vectors of queries that are kept, the latest asked for: of the local model some 6 MB."""

SHOWN_DESCRIPTION = 500
"""Characters of a product's description that a hit has; the product itself has it whole."""

IDENTIFIER_SCORE = 1.0
"""Of a product whose SKU, GTIN or MPN is the query; fused rankings stay far below."""

_GTIN_LENGTHS = (8, 12, 13, 14)
# Identifiers are compared as bytes but for ASCII case, so that an index serves whatever the database's language.
_HAS_IDENTIFIER = """(lower(p.sku COLLATE "C") = lower(CAST(:query AS text) COLLATE "C")
    OR lower(p.mpn COLLATE "C") = lower(CAST(:query AS text) COLLATE "C")
    OR p.gtins && CAST(:gtins AS text[]))"""
# The cheapest of those in stock, else the first.
_BEST_OFFER = """coalesce(o.availability = ANY(:in_stock_names), false) DESC,
    CASE WHEN o.availability = ANY(:in_stock_names) THEN o.price END, o.ordinal"""


@dataclass(frozen=True)
class SearchFilters:
    """What a hit must be. One offer must pass all of price, currency and stock; without a currency, prices compare as
    numbers in any. A category is a path or any part of one, case aside, and what lies below it."""

    brand: str | None = None
    category: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    currency: str | None = None
    in_stock: bool = False
    organization: str | None = None


@dataclass(frozen=True)
class SearchHit:
    """A live product with the offer that answers best: of those that pass the filters the cheapest in stock, else the
    first. `brand` is what the product calls it; price, currency and availability are None without an offer."""

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


Ranking = list[tuple[int, float]]
"""Ids of products with their scores, best first."""


def search(
    connection: Connection, embedder: Embedder, query: str, filters: SearchFilters | None = None, limit: int = 20
) -> list[SearchHit]:
    """The best hits for a query; an empty one browses, the newest products first.

    Products whose SKU, GTIN or MPN is the query come first, then what two rankings fused give: by vector, and by full
    text of those that hold every term. As many hits as exist are returned, up to the limit. Where an
    embedding service gives no vector for the query, its words alone decide. Raises `OtherModelError`
    when the index was built with another model than the embedder's.
    """
    scope = _resolve(connection, filters or SearchFilters())
    if scope is None or limit < 1:
        return []
    return _hits(connection, scope, _ranking(connection, embedder, scope, query, limit))


def first_page(
    connection: Connection, embedder: Embedder, query: str, filters: SearchFilters, limit: int
) -> tuple[list[SearchHit], Ranking]:
    """The best hits, and the ranking of up to `DEPTH` products whose first they are: with `further_page` it is leafed
    through whatever happens to the catalogue meanwhile."""
    scope = _resolve(connection, filters)
    if scope is None:
        return [], []
    ranking = _ranking(connection, embedder, scope, query, DEPTH)
    return _hits(connection, scope, ranking[:limit]), ranking


def further_page(connection: Connection, filters: SearchFilters, products: Sequence[int]) -> list[SearchHit]:
    """The hits of a part of a ranking, without scores, as the catalogue knows them now. What it no longer has is left
    out."""
    scope = _resolve(connection, filters)
    return [] if scope is None else _hits(connection, scope, [(product, 0.0) for product in products])


def _ranking(connection: Connection, embedder: Embedder, scope: "_Scope", query: str, limit: int) -> Ranking:
    query = cut_bytes(clean(query).strip(), MAX_QUERY_BYTES)
    if not query:
        return [(product, 0.0) for product in _newest(connection, scope, limit)]
    scored = dict.fromkeys(_identified(connection, scope, query, limit), IDENTIFIER_SCORE)
    for product, score in _ranked(connection, embedder, scope, query, max(DEPTH, limit)):
        scored.setdefault(product, score)
    return list(scored.items())[:limit]


@dataclass(frozen=True)
class _Scope:
    """Filters as SQL: `products` is about `p`, `offers` about `o`, an offer."""

    products: str
    offers: str
    parameters: Mapping[str, Any]
    is_filter: bool
    filters: Filters


def _resolve(connection: Connection, filters: SearchFilters) -> _Scope | None:
    """The filters with names looked up; None when nothing can pass, since a name is unknown."""
    parameters: dict[str, Any] = {"in_stock_names": sorted(IN_STOCK)}
    products, offers = ["p.deleted_at IS NULL"], ["true"]
    if filters.organization is not None:
        organization = _organization_id(connection, filters.organization)
        if organization is None:
            return None
        products.append("p.organization_id = :organization")
        parameters["organization"] = organization
    if filters.brand is not None:
        products.append("(p.brand_id = ANY(:brands) OR lower(p.brand_name) = lower(:brand))")
        parameters |= {"brand": filters.brand.strip(), "brands": _brand_ids(connection, filters.brand.strip())}
    if filters.category is not None:
        products.append("p.category_id = ANY(:categories)")
        parameters["categories"] = _category_ids(connection, filters.category)
    if filters.min_price is not None:
        offers.append("o.price >= :min_price")
    if filters.max_price is not None:
        offers.append("o.price <= :max_price")
    if filters.currency is not None:
        offers.append("o.currency = :currency")
        parameters["currency"] = filters.currency.strip().upper()
    if filters.in_stock:
        offers.append("o.availability = ANY(:in_stock_names)")
    parameters |= {"min_price": filters.min_price, "max_price": filters.max_price}
    if len(offers) > 1:
        passing = " AND ".join(offers)
        products.append(f"EXISTS (SELECT FROM offers o WHERE o.product_id = p.id AND {passing})")
    urn = filters.organization and (normalize_organization_urn(filters.organization) or filters.organization)
    wanted = Filters(**asdict(filters) | {"organization": urn})
    return _Scope(" AND ".join(products), " AND ".join(offers), parameters, len(products) > 1, wanted)


def _organization_id(connection: Connection, urn: str) -> int | None:
    found: int | None = connection.execute(
        text("SELECT id FROM organizations WHERE urn = :urn"), {"urn": normalize_organization_urn(urn) or urn}
    ).scalar()
    return found


def _brand_ids(connection: Connection, brand: str) -> list[int]:
    """The brands of that name or URN, of any organization."""
    return list(
        connection.execute(
            text("SELECT id FROM brands WHERE lower(name) = lower(:brand) OR urn = :brand"), {"brand": brand}
        ).scalars()
    )


def _category_ids(connection: Connection, category: str) -> list[int]:
    """The categories whose path holds the filter's as whole parts: itself, wherever it stands, and all below."""
    path = normalize_path(category) or ""
    return list(
        connection.execute(
            text("""
                SELECT id FROM categories
                WHERE string_to_array(lower(path), ' > ') @> string_to_array(lower(:path), :gap)
                    AND position(lower(:within) IN lower(:gap || path || :gap)) > 0
                """),
            {"path": path, "within": f"{SEPARATOR}{path}{SEPARATOR}", "gap": SEPARATOR},
        ).scalars()
    )


def _newest(connection: Connection, scope: _Scope, limit: int) -> Sequence[int]:
    statement = f"SELECT p.id FROM products p WHERE {scope.products} ORDER BY p.id DESC LIMIT :limit"  # noqa: S608 - this module's own fragments
    return connection.execute(text(statement), {**scope.parameters, "limit": limit}).scalars().all()


def _identified(connection: Connection, scope: _Scope, query: str, limit: int) -> Sequence[int]:
    """Products whose SKU, GTIN or MPN is the query. Gathered first: for the sake of the order, the planner would
    rather look through all products than into three indexes."""
    statement = f"""
        WITH found AS MATERIALIZED (SELECT p.id FROM products p WHERE {_HAS_IDENTIFIER} AND {scope.products})
        SELECT id FROM found ORDER BY id LIMIT :limit
        """  # noqa: S608 - this module's own fragments
    parameters = {**scope.parameters, "query": query, "gtins": gtin_spellings(query), "limit": limit}
    return connection.execute(text(statement), parameters).scalars().all()


def gtin_spellings(query: str) -> list[str]:
    """The ways to write the GTIN that the query is, with fewer and more leading zeros; none when it is no GTIN."""
    digits = query.replace(" ", "").replace("-", "")
    significant = digits.lstrip("0")
    if not (digits.isascii() and digits.isdigit() and len(significant) <= max(_GTIN_LENGTHS)):
        return []
    return [significant.zfill(length) for length in _GTIN_LENGTHS if len(significant) <= length]


def _ranked(
    connection: Connection, embedder: Embedder, scope: _Scope, query: str, depth: int
) -> list[tuple[int, float]]:
    """Product ids with scores, the two rankings fused. Nothing before the first vector step."""
    try:
        generation = searched_generation(connection, embedder)
        vector = _query_vector(embedder, query) if generation else None
    except (EmbeddingUnavailableError, ConfigurationError) as error:
        log.warning("no vector for the query: searching by words alone", error=str(error), remedy=error.remedy)
        generation, vector = live_generation(connection), None
    if generation is None:
        return []
    condition = Condition(scope.products, scope.parameters, scope.is_filter, scope.filters)
    found = generation.index.candidates(connection, query, vector, condition, depth)
    return reciprocal_rank_fusion([found.dense, found.text])


def _query_vector(embedder: Embedder, query: str) -> NDArray[np.float32] | None:
    """None when the model takes no such query."""
    vector, refused = _embedded(embedder, embedder.identity, query)  # type: ignore[arg-type] # by identity, all hash
    if refused is not None:
        log.warning("the query is refused: searching by words alone", error=refused)
    return vector


@lru_cache(maxsize=QUERY_VECTORS)
def _embedded(
    embedder: Embedder, _identity: EmbedderIdentity, query: str
) -> tuple[NDArray[np.float32] | None, str | None]:
    """The query's vector, or why it has none. A model that changes under its name is another identity."""
    embedded = embedder.embed([query])
    if embedded.refused:
        return None, embedded.refused[0]
    embedded.vectors.setflags(write=False)
    return embedded.vectors[0], None


def _hits(connection: Connection, scope: _Scope, scored: Sequence[tuple[int, float]]) -> list[SearchHit]:
    """What is shown of each product, as the catalogue knows it now, in the order given."""
    rows = connection.execute(
        text(f"""
            SELECT p.urn, p.name, coalesce(p.brand_name, b.name) AS brand, c.path AS category, o.price, o.currency,
                o.availability, coalesce(p.url, o.url) AS url, found.score, g.urn AS organization, p.sku,
                left(p.description, :shown) AS description, p.image
            FROM unnest(CAST(:ids AS bigint[]), CAST(:scores AS float8[])) WITH ORDINALITY AS found (id, score, place)
            JOIN products p ON p.id = found.id AND p.deleted_at IS NULL
            JOIN organizations g ON g.id = p.organization_id
            LEFT JOIN brands b ON b.id = p.brand_id
            LEFT JOIN categories c ON c.id = p.category_id
            LEFT JOIN LATERAL (
                SELECT * FROM offers o WHERE o.product_id = p.id AND {scope.offers} ORDER BY {_BEST_OFFER} LIMIT 1
            ) o ON true
            ORDER BY found.place
            """),  # noqa: S608 - this module's own fragments
        {
            **scope.parameters,
            "ids": [product for product, _ in scored],
            "scores": [score for _, score in scored],
            "shown": SHOWN_DESCRIPTION,
        },
    )
    return [SearchHit(**row._mapping) for row in rows]
