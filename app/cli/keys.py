"""`keys`: who may use the API."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from app.cli.database import database_errors, opened, reading, settings
from app.cli.output import console, print_json, table
from app.core.errors import DiscoveryNodeError
from app.services import keys
from app.services.keys import ApiKey, Scope

_STYLES = {"valid": "green", "expired": "yellow", "revoked": "red"}


class UnknownKeyError(DiscoveryNodeError):
    """No key has this id."""


def create(scope: Scope, name: str, expires: datetime | None, *, as_json: bool) -> None:
    """Makes a key and prints it: nobody can tell it again."""
    database = opened(settings())
    with database_errors(), database.transaction() as connection:
        key, known = keys.create(connection, scope, name=name, expires_at=expires)
    if as_json:
        print_json({"key": key, **_document(known)})
    else:
        console().print(key, soft_wrap=True)
        console(stderr=True).print("Keep it: it is not shown again.")


def list_keys(*, as_json: bool) -> None:
    """Prints what is known of the keys."""
    with reading(settings()) as connection:
        found = keys.listed(connection)
    if as_json:
        print_json({"keys": [_document(key) for key in found]})
        return
    listed = table("id", "name", "scope", "state", "created", "expires", "last used")
    for key in found:
        state = key.state(datetime.now(UTC))
        listed.add_row(
            key.id, key.name or "-", key.scope, Text(state, _STYLES[state]), _day(key.created_at), _day(key.expires_at),
            _day(key.last_used_at),
        )  # fmt: skip
    console().print(listed if found else "There are no keys.")


def revoke(key_id: str) -> None:
    """Revokes a key. Raises `UnknownKeyError`."""
    database = opened(settings())
    with database_errors(), database.transaction() as connection:
        found = keys.revoke(connection, key_id)
    if not found:
        raise UnknownKeyError(f"There is no key {key_id}", remedy="`discovery-node keys list` tells the ids.")
    console().print(f"{key_id} opens nothing any more.")


def _document(key: ApiKey) -> dict[str, Any]:
    return {**asdict(key), "state": key.state(datetime.now(UTC))}


def _day(time: datetime | None) -> str:
    return "-" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M}"
