"""Whether feeds changed since they were read last, found out without reading them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from app.core.config import Settings
from app.core.logging import in_this_context
from app.db.session import Database
from app.ingestors.base import SourceError
from app.ingestors.bulkhead import bulkhead, words_of
from app.ingestors.config import IngestorEntry
from app.ingestors.handlers.reading import FeedRequest, PublicationReader, document_limits
from app.ingestors.sources.base import BaseSource
from app.net.urls import shown
from app.services import feeds, organizations
from app.services.feeds import FeedState, KnownFeed

log = structlog.get_logger()

_WORKERS = 8


@dataclass
class EntryCheck:
    """What a look at an entry's feeds found: how many there are, whose changed, and which could not be looked at, by
    path. `is_new` when the entry was never started."""

    entry: IngestorEntry
    checked: int = 0
    is_new: bool = False
    changed: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


def check_entries(database: Database, entries: Sequence[IngestorEntry], settings: Settings) -> list[EntryCheck]:
    """Looks at all feeds of the entries, several at once; one that fails hides no other."""
    with database.transaction() as connection:
        known = feeds.of_ingestors(connection, [entry.name for entry in entries])
        wanted = {entry.name: _wanted(connection, entry, known) for entry in entries if entry.filter}
        started = feeds.started_ingestors(connection)
    checks = {entry.name: EntryCheck(entry, is_new=entry.name not in started) for entry in entries}
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="check") as pool:
        looks = [
            pool.submit(in_this_context(_check), database, checks[feed.ingestor], feed, settings)
            for feed in known
            if feed.ingestor not in wanted or feed.organization_urn in wanted[feed.ingestor]
        ]
        for look in looks:
            look.result()
    return list(checks.values())


def has_updates(database: Database, entry: IngestorEntry, organization_id: int, path: str, settings: Settings) -> bool:
    """Whether a feed is another than the one in the catalogue, and than the one that was tried last. Raises
    `SourceError` when that cannot be known now."""
    with database.transaction() as connection:
        publisher = organizations.publisher(connection, organization_id)
        state = feeds.find_feed(connection, organization_id)
    assert state is not None  # noqa: S101 - the organization was found by it
    source = entry.source(settings)
    limits = document_limits(settings)
    request = FeedRequest(entry.name, entry.source_type, path, publisher, entry.options_hash(), limits=limits)
    if state.context_hash == request.context_hash and _is_as_seen(source, state):
        return False
    reading = PublicationReader(source).look(request, state)
    if reading.index_unreachable:
        raise SourceError(reading.problems[0].message)
    with database.transaction() as connection:
        feeds.remember_seen(connection, state.id, reading.seen)
    return reading.fingerprint not in (state.fingerprint, state.attempted_fingerprint)


def _wanted(connection: Connection, entry: IngestorEntry, known: Sequence[KnownFeed]) -> set[str]:
    """The organizations whose feeds the entry's filter lets through."""
    assert entry.filter is not None  # noqa: S101 - asked for those alone that have one
    return organizations.matching(
        connection, [feed.organization_urn for feed in known], organizations=entry.filter.organization,
        categories=entry.filter.category, brands=entry.filter.brand,
    )  # fmt: skip


def _check(database: Database, check: EntryCheck, feed: KnownFeed, settings: Settings) -> None:
    check.checked += 1
    path = shown(feed.path)

    def broken(error: Exception) -> None:
        check.errors[path], _ = words_of(error)
        log.warning("feed cannot be checked", ingestor=feed.ingestor, feed=path, error=check.errors[path])

    with bulkhead(broken):
        if has_updates(database, check.entry, feed.organization_id, feed.path, settings):
            check.changed.append(feed.organization_urn)


def _is_as_seen(source: BaseSource, state: FeedState) -> bool:
    """Whether all documents are of the versions that were seen when the publication was read or looked at last."""
    seen = state.seen
    if seen is None or seen.fingerprint is None:
        return False
    if seen.fingerprint not in (state.fingerprint, state.attempted_fingerprint):
        return False
    return all(source.version(path) == document.validators for path, document in seen.documents.items())
