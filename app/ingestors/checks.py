"""Whether feeds and registries changed since they were read last, found out without reading them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec
import structlog
from sqlalchemy import Connection

from app.core.config import Settings
from app.core.logging import in_this_context
from app.db.session import Database
from app.ingestors.base import SourceError
from app.ingestors.bulkhead import bulkhead, words_of
from app.ingestors.config import IngestorEntry
from app.ingestors.handlers.reading import FeedRequest, PublicationReader, document_limits
from app.ingestors.sources.base import BaseSource, Document
from app.net.urls import shown
from app.services import feeds, organizations, registries, unlisted
from app.services.feeds import FeedState, KnownFeed
from app.services.unlisted import RetirementRule

log = structlog.get_logger()

_WORKERS = 8


@dataclass
class EntryCheck:
    """What a look at an entry's feeds found: how many there are, whose changed, and which could not be looked at, by
    path. `is_new` when the entry was never started, `is_due` when its registry changed, or when an organization that
    left it is to go."""

    entry: IngestorEntry
    checked: int = 0
    is_new: bool = False
    is_due: bool = False
    changed: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


def check_entries(database: Database, entries: Sequence[IngestorEntry], settings: Settings) -> list[EntryCheck]:
    """Looks at all registries and feeds of the entries, several at once; one that fails hides no other."""
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
        looks += [
            pool.submit(in_this_context(_check_registry), database, check, settings)
            for check in checks.values()
            if check.entry.registry is not None and not check.is_new
        ]
        for look in looks:
            look.result()
    return list(checks.values())


def has_updates(database: Database, entry: IngestorEntry, organization_id: int, path: str, settings: Settings) -> bool:
    """Whether a feed is another than the one in the catalogue, and than the one that was tried last; that of a retired
    organization is not asked for. Raises `SourceError` when that cannot be known now."""
    with database.transaction() as connection:
        publisher = organizations.publisher(connection, organization_id)
        state = feeds.find_feed(connection, organization_id)
    if publisher.is_retired:
        return False
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


def has_registry_updates(database: Database, entry: IngestorEntry, path: str, settings: Settings) -> bool:
    """Whether the entry's registry is another than the one that was tried last. Raises `SourceError` when that cannot
    be known now."""
    with database.transaction() as connection:
        seen = registries.find(connection, entry.name, path)
    source = entry.source(settings)
    if seen is None or not seen.validators:
        document: Document | None = source.open(path)
    elif source.version(path) == seen.validators:
        return False
    else:
        document = source.open_if_changed(path, seen.validators)
    if document is None:
        return False
    with document:
        if seen is None or document.sha256 != seen.sha256:
            return True
        with database.transaction() as connection:
            registries.lock(connection, entry.name)
            if registries.find(connection, entry.name, path) == seen:
                now = msgspec.structs.replace(seen, validators=document.validators)
                registries.remember(connection, entry.name, path, now)
    return False


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


def _check_registry(database: Database, check: EntryCheck, settings: Settings) -> None:
    path = check.entry.registry
    assert path is not None  # noqa: S101 - asked for those alone that have one
    told = shown(path)

    def broken(error: Exception) -> None:
        check.errors[told], _ = words_of(error)
        log.warning("registry cannot be checked", ingestor=check.entry.name, registry=told, error=check.errors[told])

    with bulkhead(broken):
        check.is_due = has_registry_updates(database, check.entry, path, settings) or _is_any_to_go(
            database, check.entry, path, settings
        )


def _is_any_to_go(database: Database, entry: IngestorEntry, path: str, settings: Settings) -> bool:
    """Whether a reading of the registry, as it was read last, would retire an organization now."""
    rule = RetirementRule(settings.unlisted_retention_days, settings.max_delete_fraction)
    with database.transaction() as connection:
        seen = registries.find(connection, entry.name, path)
        if seen is None or seen.listing is None or not seen.listing.urns:
            return False
        return bool(unlisted.judge(connection, entry.name, rule, is_whole=not seen.listing.rejected).retiring)


def _is_as_seen(source: BaseSource, state: FeedState) -> bool:
    """Whether all documents are of the versions that were seen when the publication was read or looked at last."""
    seen = state.seen
    if seen is None or seen.fingerprint is None:
        return False
    if seen.fingerprint not in (state.fingerprint, state.attempted_fingerprint):
        return False
    return all(source.version(path) == document.validators for path, document in seen.documents.items())
