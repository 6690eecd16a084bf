"""A registry into the catalogue: organizations, their brands and categories."""

from dataclasses import dataclass

from app.cmp.feed import MalformedDocumentError
from app.cmp.issues import Issue
from app.cmp.registry import Registry, parse_registry
from app.db.session import Database
from app.ingestors.base import SourceError, ValidationError
from app.ingestors.sources.base import BaseSource
from app.services import organizations
from app.services.organizations import ForeignOrganizationError, Registered
from app.services.starts import Start


@dataclass(frozen=True)
class RegistryReport:
    """What became of a registry, by organization URN; `rejected` entries became none, `skipped` are discovery nodes."""

    organizations: dict[str, Registered | ForeignOrganizationError]
    rejected: int
    skipped: int


class RegistryHandler:
    """Brings the organizations of a registry into the catalogue."""

    def __init__(self, database: Database, source: BaseSource) -> None:
        self._database = database
        self._source = source

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
                    organizations.record_issues(connection, start.ingestor, [(None, issue)])
                    start.fence(connection)
                raise ValidationError(issue.message, remedy=issue.hint) from error
        with self._database.transaction() as connection:
            results = organizations.register(connection, start.ingestor, registry.organizations)
            found = _issues(registry, results)
            for identity, urn in organizations.owned(connection, start.ingestor):
                if urn not in results:
                    found.append(
                        (identity, Issue("organization-unlisted", f"{urn} is no longer in {path}.", value=urn))
                    )
            organizations.record_issues(connection, start.ingestor, found)
            start.fence(connection)
        rejected = sum(issue.severity == "error" for issue in registry.issues)
        return RegistryReport(results, rejected, registry.skipped)


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
