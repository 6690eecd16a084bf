"""A registry into the catalogue: organizations, their brands and categories."""

from dataclasses import dataclass

from sqlalchemy import Connection

from app.cmp.feed import MalformedDocumentError
from app.cmp.issues import Issue
from app.cmp.registry import Registry, parse_registry
from app.db.session import Database
from app.ingestors.base import SourceError, ValidationError
from app.ingestors.sources.base import BaseSource
from app.services import organizations, unlisted
from app.services.organizations import ForeignOrganizationError, Registered
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

    def ingest(self, start: Start, path: str) -> RegistryReport:
        """Reads the registry at `path` for the ingestor of the start, which owns what it registers. Raises
        `SourceError` when it cannot be had, `ValidationError` when what was had is no registry."""
        with self._source.open(path) as document:
            try:
                registry = parse_registry(document.content())
            except (SourceError, MalformedDocumentError) as error:
                named = str(error) if isinstance(error, SourceError) else f"{path}: {error}"
                issue = Issue("registry-unreadable", named)
                with self._database.transaction() as connection:
                    organizations.record_issues(connection, start.ingestor, [(None, issue)], keep_unlisted=True)
                    start.fence(connection)
                raise ValidationError(issue.message, remedy=issue.hint) from error
        with self._database.transaction() as connection:
            report = self._register(connection, start.ingestor, path, registry)
            start.fence(connection)
        return report

    def _register(self, connection: Connection, ingestor: str, path: str, registry: Registry) -> RegistryReport:
        results = organizations.register(connection, ingestor, registry.organizations)
        rejected = sum(issue.severity == "error" for issue in registry.issues)
        found = _issues(registry, results)
        verdict = None
        if results:
            unlisted.mark(connection, ingestor, results)
            verdict = unlisted.judge(connection, ingestor, self._rule, is_whole=not rejected)
            found += unlisted.told(verdict, path)
        organizations.record_issues(connection, ingestor, found, keep_unlisted=verdict is None)
        return RegistryReport(results, rejected, registry.skipped, verdict)


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
