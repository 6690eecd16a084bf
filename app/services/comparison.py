"""Products beside each other: what is the same of them, and what is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.cmp.availability import IN_STOCK
from app.cmp.text import shorten
from app.services.products import ProductDocument

_MOST_ROWS = 200
_LONGEST = 300  # characters of a value


@dataclass(frozen=True)
class ComparisonRow:
    """A property, and what each product says of it, as text; None where it says nothing."""

    name: str
    values: list[str | None]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of the products, and the same in a few sentences."""

    names: list[str]
    rows: list[ComparisonRow]
    summary: str


def compare(products: Sequence[ProductDocument]) -> Comparison:
    """The products beside each other: price, brand and the like, then every attribute that one of them has."""
    documents = [product.document for product in products]
    described = [_described(document) for document in documents]
    names = dict.fromkeys(name for each in described for name in each)
    rows = [ComparisonRow(name, [each.get(name) for each in described]) for name in names][:_MOST_ROWS]
    titles = [shorten(document["name"], _LONGEST) for document in documents]
    return Comparison(titles, rows, _summary(titles, documents, rows))


def best_offer(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The cheapest of those in stock, else the first; of different currencies no one is the cheaper."""
    offers: list[Mapping[str, Any]] = document["offers"]
    available = [offer for offer in offers if is_in_stock(offer)]
    if available and len({offer.get("priceCurrency") for offer in available}) == 1:
        return min(available, key=lambda offer: offer["price"])
    return next(iter(available or offers), None)


def is_in_stock(offer: Mapping[str, Any]) -> bool:
    return str(offer.get("availability", "")).rpartition("/")[2] in IN_STOCK


def _described(document: Mapping[str, Any]) -> dict[str, str]:
    """Properties by name, as text. What a product says of itself comes last and takes no name that is taken."""
    offer = best_offer(document) or {}
    brand = document.get("brand")
    described = {
        "price": f"{offer['price']} {offer.get('priceCurrency', '')}".strip() if "price" in offer else None,
        "availability": str(offer.get("availability", "")).rpartition("/")[2] or None,
        "sellers": str(len({str(each["seller"]) for each in document["offers"]})),
        "brand": _text(brand.get("name") if isinstance(brand, dict) else brand),
        "category": _text(document.get("category")),
        "sku": _text(document.get("sku")),
        "mpn": _text(document.get("mpn")),
        "weight": _text(document.get("weight")),
    }
    found = {name: value for name, value in described.items() if value}
    listed = document.get("additionalProperty")
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict) and (name := _text(each.get("name"))) and (value := _text(each.get("value"))):
            found.setdefault(name, value)
    return found


def _text(value: object) -> str | None:
    """A value of a stranger's document as a line of text."""
    if isinstance(value, dict):
        parts = [value.get("value"), value.get("unitText") or value.get("unitCode") or value.get("name")]
        value = " ".join(str(part) for part in parts if part is not None)
    elif isinstance(value, list):
        value = ", ".join(str(part) for part in value)
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    if value is None:
        return None
    return shorten(" ".join(str(value).split()), _LONGEST) or None


def _summary(names: Sequence[str], documents: Sequence[Mapping[str, Any]], rows: Sequence[ComparisonRow]) -> str:
    offers = [best_offer(document) for document in documents]
    sentences = [_cheapest(names, offers)]
    missing = [name for name, offer in zip(names, offers, strict=True) if offer is None or not is_in_stock(offer)]
    if missing:
        sentences.append(f"Not in stock: {', '.join(missing)}.")
    different = [row.name for row in rows if row.differs and row.name not in ("price", "availability", "sku", "mpn")]
    same = sum(not row.differs for row in rows)
    sentences.append(f"They differ in {', '.join(different[:8])}." if different else "They do not differ otherwise.")
    if same:
        sentences.append(f"{same} {'property is' if same == 1 else 'properties are'} the same.")
    return " ".join(sentence for sentence in sentences if sentence)


def _cheapest(names: Sequence[str], offers: Sequence[Mapping[str, Any] | None]) -> str:
    priced = [
        (offer["price"], name, offer.get("priceCurrency")) for name, offer in zip(names, offers, strict=True) if offer
    ]
    if len({currency for _, _, currency in priced}) > 1:
        return "Their prices are in different currencies."
    if len(priced) < 2:
        return ""
    priced.sort(key=lambda each: each[0])
    (low, name, currency), (next_low, _, _) = priced[0], priced[1]
    if low == priced[-1][0]:
        return f"All cost {low} {currency}."
    less = f", {next_low - low} less than the next" if next_low > low else ""
    return f"The cheapest is {name} at {low} {currency}{less}."
