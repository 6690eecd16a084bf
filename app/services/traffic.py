"""What the node's processes send to an index that is elsewhere, in its counters."""

from dataclasses import asdict

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.services import counters
from app.vectors.indexes import traffic
from app.vectors.indexes.traffic import is_counted

__all__ = ["count", "is_counted"]


def count(connection: Connection) -> None:
    """Adds what this process sent since it last did so."""
    taken = traffic.take_all()
    amounts: dict[counters.Key, float] = {
        (f"index_{what}", (("index", name),)): amount
        for name, amounts in taken.items() for what, amount in asdict(amounts).items()
    }  # fmt: skip
    try:
        counters.add(connection, amounts)
    except SQLAlchemyError:
        traffic.give_back(taken)
        raise
