"""Availability: schema.org's ItemAvailability by name, from any of its spellings."""

from app.cmp.limits import MAX_TEXT

NAMES = (
    "InStock", "OutOfStock", "PreOrder", "BackOrder", "Discontinued", "InStoreOnly",
    "LimitedAvailability", "OnlineOnly", "SoldOut", "PreSale", "MadeToOrder", "Reserved",
)  # fmt: skip

IN_STOCK: frozenset[str] = frozenset({"InStock", "InStoreOnly", "LimitedAvailability", "OnlineOnly"})
"""Those that count as in stock."""

URLS: dict[str, str] = {f"{scheme}://schema.org/{name}": name for scheme in ("https", "http") for name in NAMES}
"""The specified spellings: what is in here needs no `normalize`, and no warning."""

_SPELLINGS = {name.lower(): name for name in NAMES}
_SPELLINGS |= {"available": "InStock", "preorder": "PreOrder", "unavailable": "OutOfStock"}


def normalize(value: str) -> str | None:
    """`https://schema.org/InStock`, `schema:InStock`, `in stock`, `IN_STOCK`: all are `InStock`. Unknown: None."""
    if name := URLS.get(value):
        return name
    if len(value) > MAX_TEXT:
        return None
    last = value.strip().rstrip("/").rpartition("/")[2].rpartition("#")[2].rpartition(":")[2]
    return _SPELLINGS.get("".join(last.split()).replace("_", "").replace("-", "").lower())
