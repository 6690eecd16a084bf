"""A database that nobody reaches for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, make_url

_HANG_UP = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"


@contextmanager
def database_away(url: str) -> Iterator[None]:
    """Its server ends all connections to the database, and takes none until the block ends."""
    name = make_url(url).database
    server = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            connection.exec_driver_sql(_HANG_UP, (name,))
            yield
        finally:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    server.dispose()
