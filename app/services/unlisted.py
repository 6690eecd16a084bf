"""Organizations that left their registry: held for a while, serving what they have, then retired.

Only a reading of the registry can find one missing, and only a later one can retire it. One that is listed again is as
if it had never left; was it retired, it is ingested whole.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from app.cmp.issues import Issue
from app.core.errors import DiscoveryNodeError
from app.db.publication import MAX_VANISHING_TOLD, MergeReport, are_too_many
from app.services import issues


@dataclass(frozen=True)
class RetirementRule:
    """When an organization that left its registry is retired: after so many days. Nothing is while more than
    `max_fraction` of what the ingestor has would go at once. With `is_accepted` all go that an earlier reading found
    missing; so they do when `released` is the fingerprint of those that are missing, and of no others."""

    days: int = 1
    max_fraction: float = 0.2
    is_accepted: bool = False
    released: bytes | None = None

    def lets_through(self, leaving: Sequence["Unlisted"]) -> bool:
        return self.is_accepted or self.released == fingerprint(leaving)


DEFAULT_RULE = RetirementRule()


class Unlisted(NamedTuple):
    """An organization that is not in its registry; `was_seen` when an earlier reading found it missing already,
    `due_at` is when a reading may retire it."""

    id: int
    urn: str
    since: datetime
    due_at: datetime
    was_seen: bool
    is_due: bool
    retired_at: datetime | None
    live_products: int


class Holdings(NamedTuple):
    """What an ingestor has that is live: organizations, held ones among them, and their products."""

    organizations: int
    products: int


@dataclass(frozen=True)
class Verdict:
    """What becomes of the unlisted organizations of an ingestor, those that were retired before included."""

    unlisted: Sequence[Unlisted]
    retiring: Sequence[Unlisted]
    held: "RetirementsHeldError | None"


class RetirementsHeldError(DiscoveryNodeError):
    """More of what an ingestor has would be deleted than is let through unasked."""

    def __init__(self, leaving: Sequence[Unlisted], live: Holdings, fraction: float) -> None:
        gone = Holdings(len(leaving), sum(each.live_products for each in leaving))
        super().__init__(
            f"{gone.organizations} of {live.organizations} organizations left the registry: {gone.products} of "
            f"{live.products} products would be deleted, more than the {fraction:.0%} that are let through",
            remedy="If that is meant, run `discovery-node ingest --accept-deletions`; else mend the registry.",
        )
        self.leaving = leaving

    def as_dict(self) -> dict[str, Any]:
        """What would go, as a run's report tells it: the first of the organizations, with their products."""
        told = [{"urn": each.urn, "products": each.live_products} for each in self.leaving[:MAX_VANISHING_TOLD]]
        return {
            "count": len(self.leaving), "organizations": told, "fingerprint": fingerprint(self.leaving).hex()
        }  # fmt: skip


def fingerprint(leaving: Collection[Unlisted]) -> bytes:
    """What tells these organizations from any others, so that a release is of what was seen."""
    return hashlib.sha256("\n".join(sorted(each.urn for each in leaving)).encode()).digest()


def mark(connection: Connection, ingestor: str, listed: Collection[str]) -> None:
    """Notes which of the organizations that the ingestor registered are missing in what its registry lists now, and
    takes that back of those it lists."""
    parameters = {"ingestor": ingestor, "listed": list(listed)}
    connection.execute(
        text("""
            WITH back AS (
                UPDATE organizations SET unlisted_since = NULL, retired_at = NULL
                WHERE ingestor = :ingestor AND unlisted_since IS NOT NULL AND urn = ANY(:listed) RETURNING id)
            DELETE FROM issues USING back WHERE issues.organization_id = back.id AND code = ANY(:codes)
            """),
        parameters | {"codes": list(issues.OF_UNLISTED)},
    )
    connection.execute(
        text("""
            UPDATE organizations SET unlisted_since = now()
            WHERE ingestor = :ingestor AND NOT is_stub AND unlisted_since IS NULL AND urn <> ALL(:listed)
            """),
        parameters,
    )


def judge(connection: Connection, ingestor: str, rule: RetirementRule, *, is_whole: bool) -> Verdict:
    """Decides which organizations go now. A registry that is not whole, since some of its entries could not be used,
    retires none: they may be the missing ones."""
    unlisted = _of_ingestor(connection, ingestor, rule.days)
    leaving = [each for each in unlisted if each.retired_at is None]
    if rule.lets_through(leaving):
        return Verdict(unlisted, [each for each in leaving if each.was_seen], None)
    live = _holdings(connection, ingestor)
    gone = Holdings(len(leaving), sum(each.live_products for each in leaving))
    if any(are_too_many(*counts, rule.max_fraction) for counts in zip(gone, live, strict=True)):
        return Verdict(unlisted, [], RetirementsHeldError(leaving, live, rule.max_fraction))
    return Verdict(unlisted, [each for each in leaving if each.is_due and is_whole], None)


def tell(connection: Connection, ingestor: str, verdict: Verdict, path: str) -> None:
    """Replaces the issues of organizations that are not in the registry at `path`: since when, and what becomes of
    them."""
    connection.execute(
        text("DELETE FROM issues WHERE ingestor = :ingestor AND code = ANY(:codes)"),
        {"ingestor": ingestor, "codes": list(issues.OF_UNLISTED)},
    )
    found = [(each.id, _issue(each, verdict, path)) for each in verdict.unlisted]
    issues.insert_of_registry(connection, ingestor, found)


def retire(connection: Connection, organization_id: int, path: str) -> MergeReport | None:
    """Takes all of an organization out of the catalogue, but for its name: deleted products stay for as long as any
    deleted ones do. What is known of its feed is forgotten, so that a return is a whole ingestion. None when it is
    listed again, or retired already."""
    bound = {"organization": organization_id}
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('organization', :organization))"), bound)
    row = connection.execute(
        text("""
            UPDATE organizations SET retired_at = now(), content_hash = NULL, updated_at = now()
            WHERE id = :organization AND unlisted_since IS NOT NULL AND retired_at IS NULL
            RETURNING urn, ingestor, unlisted_since, retired_at
            """),
        bound,
    ).one_or_none()
    if row is None:
        return None
    report = MergeReport()
    for kind, statement in _DELETED.items():
        getattr(report, kind).deleted = connection.execute(text(statement), bound).rowcount
    for statement in _FORGOTTEN:
        connection.execute(text(statement), bound)
    issue = _retired_issue(row.urn, path, row.unlisted_since, row.retired_at)
    issues.insert_of_registry(connection, row.ingestor, [(organization_id, issue)])
    return report


def _of_ingestor(connection: Connection, ingestor: str, days: int) -> list[Unlisted]:
    rows = connection.execute(
        text("""
            SELECT o.id, o.urn, o.unlisted_since, o.unlisted_since + make_interval(days => :days) AS due_at,
                o.unlisted_since < now() AS was_seen,
                o.unlisted_since < now() AND o.unlisted_since + make_interval(days => :days) <= now() AS is_due,
                o.retired_at, coalesce(f.live_products, 0) AS live_products
            FROM organizations o LEFT JOIN feeds f ON f.organization_id = o.id
            WHERE o.ingestor = :ingestor AND o.unlisted_since IS NOT NULL ORDER BY o.urn
            """),
        {"ingestor": ingestor, "days": days},
    )
    return [Unlisted(*row) for row in rows]


def _holdings(connection: Connection, ingestor: str) -> Holdings:
    row = connection.execute(
        text("""
            SELECT count(*), CAST(coalesce(sum(f.live_products), 0) AS int8)
            FROM organizations o LEFT JOIN feeds f ON f.organization_id = o.id
            WHERE o.ingestor = :ingestor AND NOT o.is_stub AND o.retired_at IS NULL
            """),
        {"ingestor": ingestor},
    ).one()
    return Holdings(*row)


def _issue(each: Unlisted, verdict: Verdict, path: str) -> Issue:
    if each.retired_at is not None:
        return _retired_issue(each.urn, path, each.since, each.retired_at)
    if verdict.held is not None:
        then = f"until the deletions are accepted: {verdict.held}"
    elif each in verdict.retiring:
        then = "and are deleted now"
    else:
        then = f"until it is read after {_time(each.due_at)} and does not list it either"
    message = f"{each.urn} is not in {path} since {_time(each.since)}. Its products stay as they are {then}."
    return Issue("organization-unlisted", message, value=each.urn)


def _retired_issue(urn: str, path: str, since: datetime, retired_at: datetime) -> Issue:
    message = f"{urn} is not in {path} since {_time(since)}. Its products were deleted at {_time(retired_at)}."
    return Issue("organization-retired", message, value=urn)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# What goes, by what it is counted as. Offers of deleted products are gone already.
_DELETED = {
    "offers": """
        DELETE FROM offers o USING products p
        WHERE o.product_id = p.id AND p.organization_id = :organization AND p.deleted_at IS NULL
        """,
    "products": "UPDATE products SET deleted_at = now() WHERE organization_id = :organization AND deleted_at IS NULL",
    "product_groups": """
        UPDATE product_groups SET deleted_at = now()
        WHERE organization_id = :organization AND NOT is_stub AND deleted_at IS NULL
        """,
}
_FORGOTTEN = (
    "UPDATE product_groups SET deleted_at = now() WHERE organization_id = :organization AND deleted_at IS NULL",
    "UPDATE brands SET origin = 'retired', updated_at = now() "
    "WHERE organization_id = :organization AND origin = 'registry'",
    "DELETE FROM organization_categories WHERE organization_id = :organization",
    "DELETE FROM occurrences WHERE feed_id IN (SELECT id FROM feeds WHERE organization_id = :organization)",
    "DELETE FROM feed_shards WHERE feed_id IN (SELECT id FROM feeds WHERE organization_id = :organization)",
    "DELETE FROM issues WHERE organization_id = :organization",
    """
    UPDATE feeds SET revision = revision + 1, context_hash = NULL, fingerprint = NULL, attempted_fingerprint = NULL,
        verdict = NULL, seen = NULL, live_products = 0, live_groups = 0, live_offers = 0, merged_at = NULL,
        updated_at = now()
    WHERE organization_id = :organization
    """,
)
