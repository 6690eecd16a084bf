"""Offers: a price that is exact, or no offer."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from app.cmp import availability
from app.cmp.fields import Fields, describe, listed, plain_text, url_field, wrong_type
from app.cmp.issues import Issue
from app.cmp.limits import MAX_DATE, MAX_INVENTORY, MAX_NUMBER_CHARS, MAX_OFFERS, MAX_TEXT, MIN_DATE
from app.cmp.money import parse_currency, price_of


class Offer(msgspec.Struct, frozen=True):
    """`availability` is a schema.org name, `valid_until` in UTC; None is unknown."""

    price: Decimal
    currency: str
    availability: str | None = None
    inventory: int | None = None
    valid_until: datetime | None = None
    url: str | None = None


class Offers(msgspec.Struct):
    """`read` counts what was published: it is `len(offers) + rejected`."""

    offers: list[Offer]
    read: int
    rejected: int


def read_offers(value: object, issues: list[Issue]) -> Offers:
    """The usable offers of an item; each unusable one is an error issue."""
    if isinstance(value, dict) and "offers" in value and "price" not in value:
        value = value["offers"]  # an AggregateOffer
    found = listed(value)
    if not found:
        issues.append(Issue("offers-missing", "The product has no offers.", "offers"))
        return Offers([], 0, 0)
    if len(found) > MAX_OFFERS:
        message = f"Of {len(found)} offers the first {MAX_OFFERS} are used."
        issues.append(Issue("too-many-offers", message, "offers"))
    single = not isinstance(value, list)
    offers = []
    for number, each in enumerate(found[:MAX_OFFERS]):
        offer = _offer(each, "offers" if single else f"offers[{number}]", issues)
        if offer is not None:
            offers.append(offer)
    return Offers(offers, len(found), len(found) - len(offers))


def _offer(fields: Any, path: str, issues: list[Issue]) -> Offer | None:
    if not isinstance(fields, dict):
        found = f"`{path}` should be an Offer, not {describe(fields)}."
        issues.append(Issue("offer-not-object", found, path, describe(fields)))
        return None
    stated, code, place = _stated(fields, path, issues)
    if stated is None or stated == "":
        issues.append(Issue("price-missing", f"`{place}` has no price.", f"{place}.price"))
        return None
    currency = _currency(code, place, issues)
    price = _price(stated, currency, place, issues) if currency else None
    if price is None or currency is None:
        return None
    url = fields.get("url")
    return Offer(
        price,
        currency,
        _availability(fields.get("availability"), path, issues),
        _inventory(fields.get("inventoryLevel"), path, issues),
        _valid_until(fields.get("priceValidUntil"), path, issues),
        url_field(url, f"{path}.url", issues) if url is not None else None,
    )


def _stated(fields: Fields, path: str, issues: list[Issue]) -> tuple[object, object, str]:
    """Price, currency and where they stand: in the offer, else in its priceSpecification."""
    price, currency = fields.get("price"), fields.get("priceCurrency")
    if price is not None and currency is not None:
        return price, currency, path
    specification = next(iter(listed(fields.get("priceSpecification"))), None)
    if not isinstance(specification, dict):
        return price, currency, path
    if price is None and specification.get("price") is not None:
        price, place = specification["price"], f"{path}.priceSpecification"
        issues.append(Issue("price-in-specification", f"`{path}` states its price only there.", place))
        return price, currency or specification.get("priceCurrency"), place
    return price, currency or specification.get("priceCurrency"), path


def _currency(value: object, path: str, issues: list[Issue]) -> str | None:
    code = parse_currency(value)
    if code is None:
        where = f"{path}.priceCurrency"
        if value is None or value == "":
            issues.append(Issue("currency-missing", f"`{path}` names no currency.", where))
        else:
            found = f"{describe(value)!r} is no ISO 4217 code."
            issues.append(Issue("currency-unknown", found, where, describe(value)))
    return code


def _price(value: object, currency: str, path: str, issues: list[Issue]) -> Decimal | None:
    where = f"{path}.price"
    try:
        price = price_of(value, currency)
    except ValueError as error:
        issues.append(Issue("price-unusable", f"The price {describe(value)!r} {error}.", where, describe(value)))
        return None
    if isinstance(value, str):
        issues.append(Issue("price-as-text", f"The price {value!r} is text, read as {price}.", where, value))
    return price


def _availability(value: object, path: str, issues: list[Issue]) -> str | None:
    if isinstance(value, str) and (name := availability.URLS.get(value)):
        return name
    where = f"{path}.availability"
    if isinstance(value, dict):
        value = value.get("@id")
    if value is None or value == "":
        issues.append(Issue("availability-missing", f"`{path}` has no availability.", where))
        return None
    name = availability.normalize(value) if isinstance(value, str) else None
    if name is None:
        found = f"{describe(value)!r} is no ItemAvailability."
        issues.append(Issue("availability-unknown", found, where, describe(value)))
    elif isinstance(value, str) and "://" not in value:
        issues.append(Issue("availability-not-url", f"{value!r} is read as {name}.", where, value))
    return name


def _inventory(value: object, path: str, issues: list[Issue]) -> int | None:
    if isinstance(value, dict):
        value = value.get("value")
    if value is None:
        return None
    level = _whole(value)
    if level is None or not 0 <= level <= MAX_INVENTORY:
        where = f"{path}.inventoryLevel"
        found = f"The stock level {describe(value)!r} is no whole number from 0 to {MAX_INVENTORY}."
        issues.append(Issue("inventory-unusable", found, where, describe(value)))
        return None
    return level


def _whole(value: object) -> int | None:
    """A whole number, also when written `10.0` or `"10"`."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    text = bytes(value).decode("ascii") if isinstance(value, msgspec.Raw) else value
    if not isinstance(text, str) or len(text) > MAX_NUMBER_CHARS:
        return None
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        return None
    within = number.is_finite() and 0 <= number <= MAX_INVENTORY
    return int(number) if within and number == int(number) else None


def _valid_until(value: object, path: str, issues: list[Issue]) -> datetime | None:
    if value is None or value == "":
        return None
    where = f"{path}.priceValidUntil"
    if not isinstance(value, str):
        wrong_type(issues, where, value, "a date")
        return None
    moment = parse_moment(plain_text(value, where, issues))
    if moment is None:
        issues.append(Issue("valid-until-unusable", f"{value[:100]!r} is no date within reach.", where, value[:400]))
    return moment


def parse_moment(text: str) -> datetime | None:
    """An ISO 8601 time in UTC. Without a zone it is taken as UTC; a date alone lasts until its end."""
    if len(text) > MAX_TEXT:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if len(text) <= 10:
            moment += timedelta(days=1, seconds=-1)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if MIN_DATE <= moment <= MAX_DATE else None
