"""Keys of the API: 256 random bits, of which only the hash is kept."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection, Row, text

from app.core.errors import DiscoveryNodeError

Scope = Literal["read", "admin"]
"""What a key is for; `admin` may read too."""

_KEY = re.compile(r"cmp_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", re.ASCII)
_ID_BYTES, _SECRET_BYTES = 6, 32
_NOBODY = bytes(32)  # what a key of an unknown id is compared with
_COLUMNS = "id, name, scope, created_at, expires_at, revoked_at, last_used_at"


class KeyRefusedError(DiscoveryNodeError):
    """A key that opens nothing."""


@dataclass(frozen=True)
class ApiKey:
    """A key, as far as it may be told."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


def create(
    connection: Connection, scope: Scope, *, name: str = "", expires_at: datetime | None = None
) -> tuple[str, ApiKey]:
    """A new key: what its holder is given, once, and what is known of it."""
    key_id = secrets.token_hex(_ID_BYTES)
    key = f"cmp_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = connection.execute(
        text(f"""
            INSERT INTO api_keys (id, hash, name, scope, expires_at)
            VALUES (:id, :hash, :name, :scope, :expires) RETURNING {_COLUMNS}
            """),  # noqa: S608 - this module's own columns
        {"id": key_id, "hash": _hash(key), "name": name, "scope": scope, "expires": expires_at},
    ).one()
    return key, _told(row)


def verify(connection: Connection, presented: str) -> ApiKey:
    """The key that was presented; that it was used is noted, at most once a minute. Raises `KeyRefusedError`."""
    match = _KEY.fullmatch(presented)
    row = (
        connection.execute(
            text(f"""
                SELECT {_COLUMNS}, hash,
                    coalesce(last_used_at < clock_timestamp() - interval '1 min', true) AS is_due
                FROM api_keys WHERE id = :id
                """),  # noqa: S608 - this module's own columns
            {"id": match[1]},
        ).one_or_none()
        if match
        else None
    )
    if not hmac.compare_digest(row.hash if row else _NOBODY, _hash(presented)) or row is None:
        raise KeyRefusedError("There is no such key", remedy="Check it; `discovery-node keys create` makes a new one.")
    key = _told(row)
    if (state := key.state(datetime.now(UTC))) != "valid":
        raise KeyRefusedError(f"The key {key.id} is {state}", remedy="Ask the operator of the node for another.")
    if row.is_due:
        connection.execute(text("UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = :id"), {"id": key.id})
    return key


def find_valid(connection: Connection, key_id: str) -> ApiKey | None:
    """The key of that id, unless it is revoked or expired."""
    row = connection.execute(text(f"SELECT {_COLUMNS} FROM api_keys WHERE id = :id"), {"id": key_id}).one_or_none()  # noqa: S608 - this module's own columns
    key = _told(row) if row else None
    return key if key and key.state(datetime.now(UTC)) == "valid" else None


def listed(connection: Connection) -> list[ApiKey]:
    """All keys, the oldest first."""
    rows = connection.execute(text(f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at, id"))  # noqa: S608 - this module's own columns
    return [_told(row) for row in rows]


def revoke(connection: Connection, key_id: str) -> bool:
    """Makes a key useless at once; False when there is no such key."""
    return bool(
        connection.execute(
            text("UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE id = :id"),
            {"id": key_id},
        ).rowcount
    )


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _told(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(row.id, row.name, row.scope, row.created_at, row.expires_at, row.revoked_at, row.last_used_at)
