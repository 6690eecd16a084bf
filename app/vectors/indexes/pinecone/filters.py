"""Filters of a search in Pinecone's language. Pure: no I/O.

What passes the exact filter passes this one. The other way round it is not so: case and accents are folded further than
a database does, and where a product has several offers, their prices are known as a range only. So what an index finds
is looked at again in PostgreSQL.
"""

from typing import Any

from app.cmp.categories import normalize_path
from app.cmp.limits import MAX_URN_BYTES
from app.cmp.text import cut_bytes
from app.vectors.indexes.base import SearchFilters
from app.vectors.indexes.pinecone.metadata import (
    ANY,
    PRICE,
    STOCK,
    category_keys,
    fold,
    highest,
    least,
    number,
)

Condition = dict[str, Any]


def pinecone_filter(filters: SearchFilters) -> Condition | None:
    """None when everything passes."""
    conditions: list[Condition] = []
    if filters.organization is not None:
        conditions.append({"organization": {"$eq": filters.organization}})
    if filters.brand is not None:
        brand = filters.brand.strip()
        conditions += _holds("brand", fold(brand), cut_bytes(brand, MAX_URN_BYTES))
    if filters.category is not None:
        for key in category_keys(normalize_path(filters.category)):
            conditions += _holds("category", key)
    conditions += _of_offers(filters)
    return _all(conditions) if conditions else None


def _of_offers(filters: SearchFilters) -> list[Condition]:
    """One offer must pass price, currency and stock: those in stock have keys of their own."""
    family = STOCK if filters.in_stock else PRICE
    if filters.currency is None:
        in_stock: list[Condition] = [{"in_stock": {"$eq": True}}] if filters.in_stock else []
        return in_stock + _between(filters, family, "")
    currency = filters.currency.strip().upper()
    listed = f"{family}_currency"
    exact = _all([{listed: {"$in": [currency]}}, *_between(filters, family, currency)])
    return [{"$or": [{listed: {"$in": [ANY]}}, exact]}]


def _between(filters: SearchFilters, family: str, currency: str) -> list[Condition]:
    """One of the prices may lie between the bounds."""
    conditions: list[Condition] = []
    if filters.min_price is not None:
        conditions.append({highest(family, currency): {"$gte": number(filters.min_price)}})
    if filters.max_price is not None:
        conditions.append({least(family, currency): {"$lte": number(filters.max_price)}})
    return conditions


def _holds(key: str, folded: str, *exact: str) -> list[Condition]:
    """Nothing is asked for by a text that cannot be folded."""
    return [] if folded == ANY else [{key: {"$in": [folded, *exact, ANY]}}]


def _all(conditions: list[Condition]) -> Condition:
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}
