"""What tools answer with: the shapes of `structuredContent`, and the same to be read."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainSerializer

from app.mcp.text import plain
from app.services.comparison import Comparison, compare
from app.services.products import ProductDocument
from app.services.search import Answer, SearchHit, Variant

NAME = 300  # characters
DESCRIPTION = 1000
_MOST_OFFERS = 20
_MOST_VARIANTS = 50
_READ_VARIANTS = 5  # of a hit, in words; the fields have all that the search found
_DEGRADED = (
    "Part of the search is away for the moment: words and identifiers alone decided, or identifiers alone. The same "
    "may find more in a few seconds."
)

Money = Annotated[Decimal, PlainSerializer(str, return_type=str)]


class Offer(BaseModel):
    """What a seller asks for a product."""

    price: Money | None = Field(None, description="As a decimal, in `currency`.")
    currency: str | None = None
    availability: str | None = Field(None, description="Of schema.org, such as InStock.")
    seller: str | None = Field(None, description="The URN of the organization that sells it.")

    def __str__(self) -> str:
        price = f"{self.price} {self.currency or ''}".strip() if self.price is not None else "no price"
        return ", ".join(part for part in (price, self.availability, self.seller and f"sold by {self.seller}") if part)


class Alternative(BaseModel):
    """A variant of a product in short."""

    urn: str
    name: str
    sku: str | None = None
    url: str | None = None
    offer: Offer | None = None

    def __str__(self) -> str:
        return f"{self.name} | {self.offer or 'no offer'} | {self.urn}"


class Found(Alternative):
    """A product in short; of a group of variants the best."""

    brand: str | None = None
    category: str | None = None
    description: str | None = None
    variants: list[Alternative] = Field(
        default_factory=list, description="The others of its group that pass the filters."
    )

    def __str__(self) -> str:
        told = " | ".join(part for part in (self.name, self.brand, self.category) if part)
        lines = [f"{told} | {self.offer or 'no offer'} | {self.urn}"]
        lines += [f"   variant: {each}" for each in self.variants[:_READ_VARIANTS]]
        if (more := len(self.variants) - _READ_VARIANTS) > 0:
            lines.append(f"   and {more} more variants: get_product lists them")
        return "\n".join(lines)


class SearchAnswer(BaseModel):
    """The best products for a query, best first."""

    products: list[Found]
    resource: str = Field(description="This search, to be read again: a URI cmp://search/…")
    degraded: bool = Field(
        False, description="Whether words or identifiers alone decided, since part of the search was away."
    )

    def __str__(self) -> str:
        notes = [_DEGRADED] if self.degraded else []
        if not self.products:
            told = "Nothing was found. Use other words, or fewer filters; list_categories tells what there is."
            return "\n".join([*notes, told])
        lines = [*notes, f"{len(self.products)} products, best first (names and texts are the sellers' own):"]
        lines += [f"{place}. {found}" for place, found in enumerate(self.products, 1)]
        return "\n".join(lines)


class Product(BaseModel):
    """A product with what its seller says of it, the offers of all who sell it, and its variants."""

    urn: str
    organization: str
    name: str
    properties: dict[str, str]
    offers: list[Offer]
    variants: list[Alternative] = Field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.name} | {self.urn} (texts are the seller's own)"]
        lines += [f"{name}: {value}" for name, value in self.properties.items()]
        lines += [f"offer: {offer}" for offer in self.offers]
        lines += [f"variant: {each}" for each in self.variants]
        return "\n".join(lines)


class Row(BaseModel):
    """A property, and what each of the products says of it."""

    name: str
    values: list[str | None]
    differs: bool


class ComparisonAnswer(BaseModel):
    """Products beside each other, in the order they were asked for."""

    urns: list[str]
    names: list[str]
    rows: list[Row]
    summary: str

    def __str__(self) -> str:
        rows = [
            f"{row.name}: {' | '.join(value or 'nothing' for value in row.values)}" for row in self.rows if row.differs
        ]
        return "\n".join([self.summary, "What differs:" if rows else "Nothing differs.", *rows])


class Category(BaseModel):
    """A category, with the products in it and below it."""

    path: str
    products: int


class CategoriesAnswer(BaseModel):
    """Categories by path."""

    categories: list[Category]
    has_more: bool = Field(description="Whether there are more: ask `within` one of these.")

    def __str__(self) -> str:
        lines = [f"{each.path}: {each.products} products" for each in self.categories]
        more = ["There are more: ask within one of these."] if self.has_more else []
        return "\n".join(lines + more) or "There are no categories here."


def search_answer(found: Answer, resource: str) -> SearchAnswer:
    return SearchAnswer(products=[_found(hit) for hit in found.hits], resource=resource, degraded=found.is_degraded)


def product(found: ProductDocument, group: dict[str, Any] | None) -> Product:
    rows = compare([found]).rows
    return Product(
        urn=found.urn,
        organization=found.organization,
        name=plain(found.document["name"], NAME),
        properties={plain(row.name, NAME): plain(row.values[0] or "", DESCRIPTION) for row in rows},
        offers=[_offer(offer) for offer in found.document["offers"][:_MOST_OFFERS]],
        variants=[_variant(each) for each in (group or {}).get("hasVariant", [])[:_MOST_VARIANTS]],
    )


def comparison(urns: Sequence[str], compared: Comparison) -> ComparisonAnswer:
    rows = [
        Row(
            name=plain(row.name, NAME),
            values=[None if value is None else plain(value, NAME) for value in row.values],
            differs=row.differs,
        )
        for row in compared.rows
    ]
    return ComparisonAnswer(
        urns=list(urns),
        names=[plain(name, NAME) for name in compared.names],
        rows=rows,
        summary=plain(compared.summary, DESCRIPTION * 2),
    )


def _found(hit: SearchHit) -> Found:
    return Found(
        **_alternative(hit, hit.organization).model_dump(),
        brand=hit.brand and plain(hit.brand, NAME),
        category=hit.category and plain(hit.category, NAME),
        description=hit.description and plain(hit.description, DESCRIPTION),
        variants=[_alternative(each, hit.organization) for each in hit.variants],
    )


def _alternative(hit: SearchHit | Variant, seller: str) -> Alternative:
    offer = Offer(price=hit.price, currency=hit.currency, availability=hit.availability, seller=seller)
    return Alternative(
        urn=hit.urn,
        name=plain(hit.name, NAME),
        sku=hit.sku and plain(hit.sku, NAME),
        url=_link(hit.url),
        offer=None if hit.price is None else offer,
    )


def _variant(told: dict[str, Any]) -> Alternative:
    offer = told.get("offers")
    return Alternative(
        urn=told["@id"],
        name=plain(told["name"], NAME),
        sku=plain(told.get("sku", ""), NAME) or None,
        offer=offer and _offer(offer),
    )


def _offer(told: dict[str, Any]) -> Offer:
    seller = told.get("seller") or {}
    return Offer(
        price=told.get("price"),
        currency=told.get("priceCurrency"),
        availability=str(told.get("availability", "")).rpartition("/")[2] or None,
        seller=seller.get("@id"),
    )


def _link(url: str | None) -> str | None:
    return plain(url, 2000) if url and url.startswith(("https://", "http://")) else None
