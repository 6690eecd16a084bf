"""Random bytes that the node's processes share: the first that asks makes them."""

import secrets as random

from sqlalchemy import Connection, text

_BYTES = 32


def shared(connection: Connection, name: str) -> bytes:
    """The secret of that name, the same for every process of the node."""
    connection.execute(
        text("INSERT INTO secrets (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"),
        {"name": name, "value": random.token_bytes(_BYTES)},
    )
    value: bytes = connection.execute(text("SELECT value FROM secrets WHERE name = :name"), {"name": name}).scalar_one()
    return value


def renew(connection: Connection, name: str) -> None:
    """Makes another secret of that name: what was signed with the one before is worth nothing."""
    connection.execute(text("DELETE FROM secrets WHERE name = :name"), {"name": name})
    shared(connection, name)
