"""Filters as people, programs and agents write them: parsed here, for every door."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.cmp.currencies import CURRENCIES
from app.cmp.limits import MAX_PRICE
from app.cmp.text import clean
from app.cmp.urns import normalize_organization_urn
from app.services.search import SearchFilters

MAX_NAME = 1024


def _currency(text: str) -> str:
    code = text.strip().upper()
    if code not in CURRENCIES:
        raise ValueError("is not an ISO 4217 code, such as EUR")
    return code


def _organization(text: str) -> str:
    urn = normalize_organization_urn(text)
    if urn is None:
        raise ValueError("is not an organization's URN, such as urn:cmp:org:…")
    return urn


Name = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(clean)]
OrganizationUrn = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_organization)]
_Price = Annotated[Decimal, Field(ge=0, le=MAX_PRICE, allow_inf_nan=False)]


class Filter(BaseModel):
    """What a product must be. One offer must pass all of price, currency and stock."""

    model_config = ConfigDict(extra="forbid")

    brand: Name | None = Field(None, description="A brand's name or URN.")
    category: Name | None = Field(None, description="A category's path, or a part of one, with all below it.")
    min_price: _Price | None = Field(None, description="At least this.")
    max_price: _Price | None = Field(None, description="At most this.")
    currency: Annotated[str, Field(max_length=16), AfterValidator(_currency)] | None = Field(
        None, description="Offers in this currency, by its ISO 4217 code."
    )
    in_stock: bool | None = Field(None, description="Whether it must be in stock.")
    organization: OrganizationUrn | None = Field(None, description="The URN of who sells it.")

    def given(self) -> dict[str, Any]:
        return self.model_dump(include=set(Filter.model_fields), exclude_none=True)


def search_filters(given: dict[str, Any]) -> SearchFilters:
    """Filters as the search takes them."""
    typed = Filter.model_validate(given).given()
    return SearchFilters(**{**typed, "in_stock": bool(typed.get("in_stock"))})
