"""What the node's processes send to an index that is elsewhere, in its counters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict

from sqlalchemy import Connection

from app.db.session import Database
from app.services import counters
from app.vectors.indexes import traffic
from app.vectors.indexes.traffic import Traffic, is_counted

__all__ = ["counting", "is_counted"]


@contextmanager
def counting(database: Database) -> Iterator[Connection]:
    """A transaction that adds what this process sent since it last did so. Of one that fails it is kept."""
    taken = traffic.take_all()
    try:
        with database.transaction() as connection:
            yield connection
            counters.add(connection, _amounts(taken))
    except BaseException:
        traffic.give_back(taken)
        raise


def _amounts(taken: Mapping[str, Traffic]) -> dict[counters.Key, float]:
    return {
        (f"index_{what}", (("index", name),)): amount
        for name, amounts in taken.items() for what, amount in asdict(amounts).items()
    }  # fmt: skip
