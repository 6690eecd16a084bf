"""Registries: which version of its document the organizations of an ingestor are of."""

from collections.abc import Collection
from typing import Any

import msgspec
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from app.services import organizations
from app.services.organizations import Registered


class Listing(msgspec.Struct, frozen=True):
    """What stood in a registry, as the recipe of that number reads it: the URNs that it lists, entries that became no
    organization, and discovery nodes."""

    recipe: int
    urns: list[str]
    rejected: int = 0
    skipped: int = 0


class SeenRegistry(msgspec.Struct, frozen=True):
    """The document that was tried last: the SHA-256 of its bytes, and what its source told of that version. `listing`
    is what was registered of it; None when it could not be used."""

    sha256: bytes
    validators: dict[str, str | int]
    listing: Listing | None = None


def lock(connection: Connection, ingestor: str) -> None:
    """Registries of one ingestor are registered one at a time."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('registry ' || CAST(:ingestor AS text), 0))"),
        {"ingestor": ingestor},
    )


def find(connection: Connection, ingestor: str, path: str) -> SeenRegistry | None:
    """The document that the ingestor tried last, if it was the one at `path`, and known as this version stores it."""
    stored: Any = connection.execute(
        text("SELECT seen FROM registries WHERE ingestor = :ingestor AND path = :path"),
        {"ingestor": ingestor, "path": path},
    ).scalar_one_or_none()
    try:
        return None if stored is None else msgspec.convert(stored, SeenRegistry)
    except msgspec.ValidationError:
        return None


def remember(connection: Connection, ingestor: str, path: str, seen: SeenRegistry) -> None:
    """Remembers the document that was tried, beside what was made of it."""
    connection.execute(
        text("""
            INSERT INTO registries (ingestor, path, seen) VALUES (:ingestor, :path, :seen)
            ON CONFLICT (ingestor) DO UPDATE SET path = excluded.path, seen = excluded.seen, updated_at = now()
            """),
        {"ingestor": ingestor, "path": path, "seen": Jsonb(msgspec.to_builtins(seen))},
    )


def as_registered(connection: Connection, ingestor: str, urns: Collection[str]) -> dict[str, Registered] | None:
    """The organizations of a registry that lists these, unchanged; None unless they are just those the ingestor has:
    one that was another's, or was removed by hand, may be registered now."""
    owned = organizations.owned(connection, ingestor)
    if {urn for _, urn in owned} != set(urns):
        return None
    brands = organizations.brand_counts(connection, [identity for identity, _ in owned])
    return {urn: organizations.unchanged(identity, urn, brands.get(identity, 0)) for identity, urn in owned}
