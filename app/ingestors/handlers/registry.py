"""A registry into the catalogue: organizations, their brands and categories."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from app.cmp.feed import MalformedDocumentError
from app.cmp.issues import Issue
from app.cmp.recipe import RECIPE
from app.cmp.registry import Registry, parse_registry
from app.db.session import Database
from app.ingestors.base import SourceError, ValidationError
from app.ingestors.sources.base import BaseSource, Document
from app.services import organizations, registries, unlisted
from app.services.organizations import ForeignOrganizationError, Registered
from app.services.registries import Listing, SeenRegistry
from app.services.starts import Start
from app.services.unlisted import DEFAULT_RULE, RetirementRule, Verdict


@dataclass(frozen=True)
class RegistryReport:
    """What became of a registry, by organization URN; `rejected` entries became none, `skipped` are discovery nodes.
    `unlisted` is what is to become of the organizations that left it; None when it lists nobody, and so tells nothing
    of who left."""

    organizations: dict[str, Registered | ForeignOrganizationError]
    rejected: int
    skipped: int
    unlisted: Verdict | None


class RegistryHandler:
    """Brings the organizations of a registry into the catalogue."""

    def __init__(self, database: Database, source: BaseSource, rule: RetirementRule = DEFAULT_RULE) -> None:
        self._database = database
        self._source = source
        self._rule = rule

    def ingest(self, start: Start, path: str, *, full: bool = False) -> RegistryReport:
        """Reads the registry at `path` for the ingestor of the start, which owns what it registers. One that is as it
        was is not read again, unless it is to be read in `full`. Raises `SourceError` when it cannot be had,
        `ValidationError` when what was had is no registry."""
        known = None if full else self._known(start.ingestor, path)
        if known is not None:
            document = self._source.open_if_changed(path, known.validators)
            if document is None:
                return self._keep(start, path, known, known) or self.ingest(start, path, full=True)
            with document:
                if document.sha256 == known.sha256:
                    now = msgspec.structs.replace(known, validators=document.validators)
                    if report := self._keep(start, path, known, now):
                        return report
                return self._read(start, path, document)
        with self._source.open(path) as document:
            return self._read(start, path, document)

    def _known(self, ingestor: str, path: str) -> SeenRegistry | None:
        """The registry as it was read last, if it would be read in the same way now."""
        with self._database.transaction() as connection:
            seen = registries.find(connection, ingestor, path)
        return seen if seen and seen.listing and seen.listing.recipe == RECIPE else None

    def _keep(self, start: Start, path: str, known: SeenRegistry, now: SeenRegistry) -> RegistryReport | None:
        """The registry is as it was: so are its organizations, and those that left it may have to go. None when it has
        to be read all the same, for what it said is no longer what the catalogue has."""
        assert known.listing is not None  # noqa: S101 - nothing else is kept
        with self._database.transaction() as connection:
            registries.lock(connection, start.ingestor)
            results = registries.as_registered(connection, start.ingestor, known.listing.urns)
            if results is None or registries.find(connection, start.ingestor, path) != known:
                return None
            if now != known:
                registries.remember(connection, start.ingestor, path, now)
            verdict: Verdict | None = None
            if results:
                verdict = self._judge(connection, start.ingestor, path, is_whole=not known.listing.rejected)
            start.fence(connection)
        return RegistryReport({**results}, known.listing.rejected, known.listing.skipped, verdict)

    def _read(self, start: Start, path: str, document: Document) -> RegistryReport:
        seen = SeenRegistry(document.sha256, document.validators)
        try:
            registry = parse_registry(document.content())
        except (SourceError, MalformedDocumentError) as error:
            named = str(error) if isinstance(error, SourceError) else f"{path}: {error}"
            issue = Issue("registry-unreadable", named)
            with self._database.transaction() as connection:
                registries.lock(connection, start.ingestor)
                organizations.record_issues(connection, start.ingestor, [(None, issue)])
                registries.remember(connection, start.ingestor, path, seen)
                start.fence(connection)
            raise ValidationError(issue.message, remedy=issue.hint) from error
        with self._database.transaction() as connection:
            registries.lock(connection, start.ingestor)
            report = self._register(connection, start.ingestor, path, registry)
            listing = Listing(RECIPE, sorted(report.organizations), report.rejected, report.skipped)
            registries.remember(connection, start.ingestor, path, msgspec.structs.replace(seen, listing=listing))
            start.fence(connection)
        return report

    def _register(self, connection: Connection, ingestor: str, path: str, registry: Registry) -> RegistryReport:
        results = organizations.register(connection, ingestor, registry.organizations)
        rejected = sum(issue.severity == "error" for issue in registry.issues)
        organizations.record_issues(connection, ingestor, _issues(registry, results))
        verdict: Verdict | None = None
        if results:
            unlisted.mark(connection, ingestor, results)
            verdict = self._judge(connection, ingestor, path, is_whole=not rejected)
        return RegistryReport(results, rejected, registry.skipped, verdict)

    def _judge(self, connection: Connection, ingestor: str, path: str, *, is_whole: bool) -> Verdict:
        verdict = unlisted.judge(connection, ingestor, self._rule, is_whole=is_whole)
        unlisted.tell(connection, ingestor, verdict, path)
        return verdict


def _issues(
    registry: Registry, results: dict[str, Registered | ForeignOrganizationError]
) -> list[tuple[int | None, Issue]]:
    """Findings with the organization they are about."""
    found: list[tuple[int | None, Issue]] = [(None, issue) for issue in registry.issues]
    for entry in registry.organizations:
        result = results[entry.urn]
        if isinstance(result, ForeignOrganizationError):
            found.append((None, Issue("foreign-organization", str(result), value=entry.urn)))
        else:
            found.extend((result.id, issue) for issue in entry.issues)
    return found
