"""Who asks, and whether they may: keys, scopes and rate limits. Routes depend on `reader` or `admin`."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from app.api.console import session
from app.api.node import ApiNode, node_of
from app.api.problems import Problem
from app.services import keys
from app.services.keys import ApiKey, KeyRefusedError

_SAFE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Caller:
    """Who sent a request: the address it came from, and the key it brought."""

    address: str
    key: ApiKey | None = None
    is_session: bool = False  # whether a cookie brought the key: then forms have to show that they are ours

    @property
    def is_admin(self) -> bool:
        return self.key is not None and self.key.scope == "admin"


def caller(request: Request) -> Caller:
    """Whoever sent the request, within their limits; a key that is no good is refused, also where none is needed."""
    node = node_of(request)
    address = _source(request)
    presented = presented_key(request)
    if presented is None:
        _limit(node, f"address:{address}", node.settings.api_rate_limit)
        return Caller(address, _signed_in(request), is_session=True)
    if presented not in node.known_keys:  # so that guessing keys is limited
        _limit(node, f"address:{address}", node.settings.api_rate_limit)
    try:
        with node.database.transaction() as connection:
            key = keys.verify(connection, presented)
    except KeyRefusedError as error:
        raise _unauthorized(str(error), error.remedy) from error
    node.known_keys.add(presented)
    _limit(node, f"key:{key.id}", node.settings.api_key_rate_limit)
    return Caller(address, key)


def _signed_in(request: Request) -> ApiKey | None:
    """The key that the sender signed in with, as long as it is good."""
    if (key_id := session.key_id(request)) is None:
        return None
    with node_of(request).database.transaction() as connection:
        return keys.find_valid(connection, key_id)


def _source(request: Request) -> str:
    """The address that a request came from; of IPv6 the network, for whoever has one address there has them all."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host or "unknown"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return host


def presented_key(request: Request) -> str | None:
    """The key a request brings: `Authorization: Bearer KEY`."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorized("The header Authorization holds no bearer key", "Send `Authorization: Bearer KEY`.")
    return key.strip()


async def found_caller(request: Request) -> Caller:
    """The same for the event loop: in a thread where something is to be waited for."""
    is_quick = node_of(request).limiter.is_local and not {"authorization", "cookie"} & set(request.headers)
    found = caller(request) if is_quick else await run_in_threadpool(caller, request)
    request.state.caller = found
    return found


async def reader(request: Request) -> Caller:
    """Who may read: anybody, unless the node is for those with a key."""
    found = await found_caller(request)
    if found.key is None and node_of(request).settings.api_keys_required:
        raise _unauthorized("This node answers those with a key", "Send `Authorization: Bearer KEY`.")
    return found


async def admin(request: Request) -> Caller:
    """Who may start and release runs."""
    found = await found_caller(request)
    if found.key is None:
        raise _unauthorized("This needs a key of the scope admin", "Send `Authorization: Bearer KEY`.")
    if not found.is_admin:
        raise Problem(
            403, "scope", f"The key {found.key.id} is for reading", remedy="`discovery-node keys create --scope admin`."
        )
    if found.is_session and request.method not in _SAFE:
        form = await request.form(max_files=0, max_fields=10)
        if session.is_forged(request, form.get("csrf")):
            raise Problem(403, "forged", "This form is not of this session", remedy="Open the page again.")
    return found


Anybody = Annotated[Caller, Depends(found_caller)]
Reader = Annotated[Caller, Depends(reader)]
Admin = Annotated[Caller, Depends(admin)]


def _limit(node: ApiNode, subject: str, limit: int) -> None:
    wait = node.limiter.wait(subject, limit)
    if wait is not None:
        told = f"More than {limit} requests within a minute"
        raise Problem(429, "too-many-requests", told, headers={"Retry-After": str(wait)}, limit=limit)


def _unauthorized(told: str, remedy: str) -> Problem:
    return Problem(401, "key", told, remedy=remedy, headers={"WWW-Authenticate": 'Bearer realm="discovery-node"'})
