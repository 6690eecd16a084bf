"""What is typed, checked before anything is opened."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches

import typer

from app.cmp.codes import CODES
from app.cmp.currencies import CURRENCIES
from app.cmp.limits import MAX_PRICE
from app.cmp.urns import normalize_organization_urn


def parse_price(text: str) -> Decimal:
    """A price as a plain number."""
    try:
        price = Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"{text!r} is not a number; write it like 1299.00") from error
    if not (price.is_finite() and 0 <= price <= MAX_PRICE):
        raise typer.BadParameter(f"{text!r} is not a price")
    return price


def parse_currency(text: str) -> str:
    """An ISO 4217 code, in capitals."""
    code = text.strip().upper()
    if code not in CURRENCIES:
        raise typer.BadParameter(f"{text!r} is not an ISO 4217 code; write three letters, such as EUR")
    return code


def parse_organization(text: str) -> str:
    """An organization's URN in its one spelling."""
    urn = normalize_organization_urn(text)
    if urn is None:
        raise typer.BadParameter(f"{text!r} is not an organization's URN; write it like urn:cmp:org:…")
    return urn


def parse_code(text: str) -> str:
    """The code of an issue."""
    if text in CODES:
        return text
    like = get_close_matches(text, CODES, n=1)
    raise typer.BadParameter(
        f"There is no issue {text!r}{f'; did you mean {like[0]!r}?' if like else '; docs/issues.md lists them'}"
    )


def parse_expiry(text: str) -> datetime:
    """A time to come: a date or time (UTC unless it says otherwise), or so many days from now."""
    now = datetime.now(UTC)
    try:
        days = text.removesuffix("d")
        until = now + timedelta(days=int(days)) if days != text else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no time; write it like 2026-12-31 or 90d") from error
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    if until <= now:
        raise typer.BadParameter(f"{text!r} is over")
    return until
