"""Connections and transactions. Only this module commits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from app.core import process
from app.core.config import Settings
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db import embedded

# A client that stalls inside a transaction gives its locks back; a backend whose client is gone stops working.
_TRANSACTION_LIMITS = (
    "SET LOCAL idle_in_transaction_session_timeout = '5min'; SET LOCAL client_connection_check_interval = '2s'"
)

_PREPARED_AFTER = 5  # times that a statement was asked

_READING = f"BEGIN READ ONLY; SET LOCAL statement_timeout = '{{}}s'; {_TRANSACTION_LIMITS}"

# What a server says that goes down, comes up, or is out of connections; a connection that broke says nothing.
_AWAY = frozenset({"57P01", "57P02", "57P03", "53300"})


class DatabaseUnavailableError(DiscoveryNodeError):
    """The database cannot be reached."""


class DatabaseFailedError(DiscoveryNodeError):
    """The database refused what it was told, or was lost meanwhile."""


class Database(Protocol):
    """Where transactions come from."""

    engine: Engine
    concurrent: bool  # whether threads may have transactions of their own

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that commits when the block ends and rolls back when it raises. One that is not durable may
        be lost, whole, in a crash of the server: for work that is checked and done again."""


class LiveDatabase:
    """Transactions of the database itself. It holds no session state, so that a pooler may stand between."""

    concurrent = True

    def __init__(
        self,
        url: str,
        *,
        patience: int | None = None,
        connections: int | None = None,
        prepares: bool = False,
        name: str = "DATABASE_URL",
    ) -> None:
        """With `patience` nobody waits longer than so many seconds for a server that does not answer, and no connection
        is kept: for who only looks now and then. As many threads as there are `connections` get one each, and keep it
        open for the next. With `prepares` statements that come again are not planned again, unless a pooler stands
        between: for who serves."""
        arguments: dict[str, Any] = {"prepare_threshold": None}
        pool: dict[str, Any] = {"pool_size": connections or 8, "max_overflow": 8, "pool_pre_ping": True}
        if patience is not None:
            arguments |= {"connect_timeout": patience, "tcp_user_timeout": patience * 1000}
            pool = {"poolclass": NullPool}
        try:
            # Errors tell no parameters: they are strangers' texts.
            self.engine = create_engine(url, connect_args=arguments, hide_parameters=True, **pool)
        except ArgumentError as error:
            raise ConfigurationError(
                f"{name} is not a database URL", remedy="Write postgresql+psycopg://user:password@host:5432/name."
            ) from error
        event.listen(self.engine, "do_connect", _name_connection)
        if prepares:
            event.listen(self.engine, "connect", _prepare_statements)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        with _translated(), _connected(self.engine) as connection, connection.begin():
            connection.exec_driver_sql(_TRANSACTION_LIMITS)
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    @contextmanager
    def reading(self, patience: int) -> Iterator[Connection]:
        """A transaction that only reads, none of whose statements takes longer than so many seconds. For whom each
        statement counts: it begins with one where `transaction` begins with several."""
        with _translated(), _connected(self.engine) as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(_READING.format(patience))
            try:
                yield connection
            finally:
                if not connection.invalidated:
                    # As a commit: with a rollback psycopg gives up what it has prepared.
                    connection.exec_driver_sql("COMMIT")


class DryRunDatabase:
    """Transactions inside one that is never committed: everything runs, nothing stays."""

    concurrent = False

    def __init__(self, connection: Connection) -> None:
        self.engine = connection.engine
        self._connection = connection

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Connection]:
        with _translated(), self._connection.begin_nested():
            yield self._connection


@contextmanager
def dry_run(database: LiveDatabase) -> Iterator[DryRunDatabase]:
    """A database whose transactions are all rolled back when the block ends."""
    with _connected(database.engine) as connection, connection.begin() as outer:
        connection.exec_driver_sql(_TRANSACTION_LIMITS)
        yield DryRunDatabase(connection)
        outer.rollback()


def connect(
    settings: Settings, *, patience: int | None = None, connections: int | None = None, prepares: bool = False
) -> LiveDatabase:
    """The database of `DATABASE_URL`, or the embedded one of `DATA_DIR`, which is started."""
    if settings.database_url is None:
        url = embedded.start(settings.data_dir)
    else:
        url = with_driver(settings.database_url.get_secret_value())
    return LiveDatabase(url, patience=patience, connections=connections, prepares=prepares)


def connect_to_read(settings: Settings, *, connections: int | None = None, prepares: bool = False) -> LiveDatabase:
    """The replica of `DATABASE_READ_URL`, which may be some moments behind; without one the database itself."""
    if settings.database_read_url is None:
        return connect(settings, connections=connections, prepares=prepares)
    url = with_driver(settings.database_read_url.get_secret_value())
    return LiveDatabase(url, connections=connections, prepares=prepares, name="DATABASE_READ_URL")


def with_driver(url: str) -> str:
    """The same URL with the driver the node uses: `postgres://` and `postgresql://` mean psycopg 3."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if separator and scheme in {"postgres", "postgresql"} else url


def driver_connection(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under a SQLAlchemy one, for COPY."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - the engine has no other driver
    return driver


def is_away(error: BaseException) -> bool:
    """Whether the error says that the database is not there now, and nothing of what was asked of it."""
    if isinstance(error, DatabaseUnavailableError):
        return True
    cause = _cause(error)
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return cause.sqlstate is None or cause.sqlstate in _AWAY or cause.sqlstate.startswith("08")


def is_too_slow(error: BaseException) -> bool:
    """Whether a statement was ended because it took longer than it may."""
    return isinstance(_cause(error), psycopg.errors.QueryCanceled)


def is_passing(error: BaseException) -> bool:
    """Whether the database may do the same in a while: it is full, busy, or lost."""
    return isinstance(_cause(error), psycopg.OperationalError)


def is_foreseen(error: BaseException) -> bool:
    """Whether the node itself says what the error means and what to do, or its database merely cannot do it now."""
    if is_away(error) or is_passing(error):
        return True
    return isinstance(error, DiscoveryNodeError) and not isinstance(error, DatabaseFailedError)


def _cause(error: BaseException) -> BaseException | None:
    """What the driver said, if an error of the database's is what this one tells of."""
    if isinstance(error, DBAPIError):
        return error.orig
    return error.__cause__ if isinstance(error, DatabaseFailedError) else None


def end_connections(connection: Connection, process_name: str) -> None:
    """Ends the connections that a process has to this database, and waits for their locks to be gone."""
    connection.execute(
        text("""
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = :name AND pid <> pg_backend_pid()
            """),
        {"name": process.tag(process_name)},
    )


def _name_connection(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
    """Tells PostgreSQL which process connects: after a fork it is another than the one that made the engine."""
    parameters["application_name"] = process.tag(process.own_name())


def _prepare_statements(connection: psycopg.Connection[Any], _record: object) -> None:
    """A pooler hands the next transaction to another server process, which knows nothing of what was prepared. It also
    has an id of its own for the connection."""
    server_process = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.rollback()
    if server_process == (connection.info.backend_pid,):
        connection.prepare_threshold = _PREPARED_AFTER


@contextmanager
def _translated() -> Iterator[None]:
    """What goes past SQLAlchemy, as COPY does, fails with an error of the node's own too."""
    try:
        yield
    except psycopg.Error as error:
        told = str(error).strip().partition("\n")[0]
        raise DatabaseFailedError(f"The database failed: {told}", remedy="The next run takes up from here.") from error


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise DatabaseUnavailableError(
            f"PostgreSQL at {engine.url.render_as_string(hide_password=True)} does not answer: {_reason(error)}",
            remedy="Start it, or correct DATABASE_URL (DATABASE_READ_URL); without them the node brings its own.",
        ) from error
    with connection:
        yield connection


def _reason(error: OperationalError) -> str:
    """What the server or the way to it said: the last words of a chain that names addresses first."""
    told = str(error.orig).strip().partition("\n")[0]
    return told.rpartition(" failed: ")[2]
