"""The lock on which generations there are: shared by all who look at them, for as long as they do; taken by who changes
them."""

import time

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_LOCK = "SELECT pg_advisory_xact_lock{}(hashtextextended('index generations', 0))"
_TURN = 250  # milliseconds in which those who look at generations mostly are done, and searches may have to wait
_PAUSE = 1.0  # seconds between turns
_NO_TURN = "55P03"  # lock_not_available


def share(connection: Connection) -> None:
    """What generations there are stays until the transaction ends."""
    connection.exec_driver_sql(_LOCK.format("_shared"))


def take(connection: Connection) -> None:
    """Until the transaction ends nobody else looks at generations. Waits for those that do, who may build a graph for
    minutes: so in turns, since whoever comes to search has to wait behind the one who waits for this."""
    while not try_to_take(connection):
        time.sleep(_PAUSE)


def try_to_take(connection: Connection) -> bool:
    """The same, but False when somebody still looks at them after a turn."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_TURN}")
            connection.exec_driver_sql(_LOCK.format(""))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _NO_TURN:
            raise
        return False
    connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
    return True
