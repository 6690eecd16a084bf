"""Organizations and their brands, as registries describe them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, text

from app.cmp.issues import Issue
from app.cmp.items import ItemContext
from app.cmp.registry import OrganizationEntry, parse_registry
from app.core.errors import DiscoveryNodeError
from app.db.publication import Verdicts
from app.services import categories, issues


class ForeignOrganizationError(DiscoveryNodeError):
    """The organization is another ingestor's."""

    def __init__(self, urn: str, owner: str) -> None:
        super().__init__(
            f"{urn} is registered by the ingestor {owner!r}, which owns it",
            remedy="Remove it from one of the two ingestors; one that was renamed has to keep its name.",
        )
        self.urn = urn
        self.owner = owner


@dataclass
class Registered:
    """What a registry entry did: `verdict` is inserted, updated or unchanged."""

    id: int
    urn: str
    verdict: str
    brands: Verdicts = field(default_factory=Verdicts)


@dataclass(frozen=True)
class Publisher:
    """An organization as its feed needs it: who it is, how its items are read, whose it is."""

    id: int
    urn: str
    ingestor: str
    feed_url: str | None
    entry_hash: bytes
    context: ItemContext
    is_retired: bool = False


def register(
    connection: Connection, ingestor: str, entries: Sequence[OrganizationEntry]
) -> dict[str, Registered | ForeignOrganizationError]:
    """Brings the organizations of a registry up to date, by URN. One that another ingestor registered is left alone,
    unless that one's registry dropped it and it is retired. The caller holds the lock of the ingestor's registries."""
    known = _lock_known(connection, [entry.urn for entry in entries])
    results: dict[str, Registered | ForeignOrganizationError] = {}
    changed: list[OrganizationEntry] = []
    for entry in entries:
        row = known.get(entry.urn)
        if row is not None and not (row.is_stub or row.is_retired) and row.ingestor != ingestor:
            results[entry.urn] = ForeignOrganizationError(entry.urn, row.ingestor)
        elif row is not None and not row.is_stub and row.content_hash == entry.content_hash:
            results[entry.urn] = unchanged(row.id, entry.urn, len(entry.brands))
        else:
            changed.append(entry)
    if changed:
        ids = _write(connection, ingestor, changed)
        verdicts = _write_brands(connection, ids, changed)
        _write_categories(connection, ids, changed)
        for entry in changed:
            row = known.get(entry.urn)
            verdict = "inserted" if row is None or row.is_stub or row.is_retired else "updated"
            results[entry.urn] = Registered(ids[entry.urn], entry.urn, verdict, verdicts[entry.urn])
    return results


def ensure_stub(connection: Connection, ingestor: str, urn: str) -> int:
    """The id of the organization a feed names; it is added as a stub when nobody knows it.
    Raises `ForeignOrganizationError` when it is another ingestor's."""
    connection.execute(
        text("""
            INSERT INTO organizations (urn, ingestor, is_stub) VALUES (:urn, :ingestor, true)
            ON CONFLICT (urn) DO NOTHING
            """),
        {"urn": urn, "ingestor": ingestor},
    )
    row = connection.execute(text("SELECT id, ingestor FROM organizations WHERE urn = :urn"), {"urn": urn}).one()
    if row.ingestor != ingestor:
        raise ForeignOrganizationError(urn, row.ingestor)
    identity: int = row.id
    return identity


def publisher(connection: Connection, organization_id: int) -> Publisher:
    """The organization with how its items are read, which its registry entry decides."""
    row = connection.execute(
        text("""
            SELECT id, urn, ingestor, feed_url, content_hash, raw, retired_at IS NOT NULL AS is_retired
            FROM organizations WHERE id = :id
            """),
        {"id": organization_id},
    ).one()
    context = ItemContext.of(row.urn) if row.raw is None else parse_registry(row.raw).organizations[0].item_context()
    return Publisher(
        row.id, row.urn, row.ingestor, row.feed_url, row.content_hash or b"", context, is_retired=row.is_retired
    )


def names(connection: Connection, urns: Iterable[str]) -> dict[str, str]:
    """What organizations call themselves, by URN; stubs have no name."""
    rows = connection.execute(
        text("SELECT urn, name FROM organizations WHERE urn = ANY(:urns) AND name IS NOT NULL"), {"urns": list(urns)}
    )
    return {row.urn: row.name for row in rows}


def owned(
    connection: Connection, ingestor: str, *, stubs: bool = False, unlisted: bool = False
) -> list[tuple[int, str]]:
    """Ids and URNs of the organizations an ingestor registered, by URN; with `stubs` those it knows from a feed too,
    with `unlisted` those that left its registry."""
    rows = connection.execute(
        text("""
            SELECT id, urn FROM organizations
            WHERE ingestor = :ingestor AND (:stubs OR NOT is_stub) AND (:unlisted OR unlisted_since IS NULL)
            ORDER BY urn
            """),
        {"ingestor": ingestor, "stubs": stubs, "unlisted": unlisted},
    )
    return [(row.id, row.urn) for row in rows]


def matching(
    connection: Connection, urns: Iterable[str], *, organizations: Iterable[str], categories: Iterable[str],
    brands: Iterable[str],
) -> set[str]:  # fmt: skip
    """Those of the organizations that are among `organizations`, have one of the categories and one of the brands, as
    their registry tells; of these three what is empty lets all through."""
    found = connection.execute(
        text("""
            SELECT o.urn FROM organizations o
            WHERE o.urn = ANY(:urns) AND (:organizations = CAST('{}' AS text[]) OR o.urn = ANY(:organizations))
                AND (:categories = CAST('{}' AS text[]) OR EXISTS (
                    SELECT FROM organization_categories l JOIN categories c ON c.id = l.category_id
                    WHERE l.organization_id = o.id AND c.path = ANY(:categories)))
                AND (:brands = CAST('{}' AS text[]) OR EXISTS (
                    SELECT FROM brands b
                    WHERE b.organization_id = o.id AND b.origin = 'registry' AND b.urn = ANY(:brands)))
            """),
        {
            "urns": list(urns),
            "organizations": list(organizations),
            "categories": list(categories),
            "brands": list(brands),
        },
    )
    return set(found.scalars())


def record_issues(connection: Connection, ingestor: str, found: Sequence[tuple[int | None, Issue]]) -> None:
    """Replaces what is wrong with the entries of an ingestor's registry: pairs of organization id and issue. What is
    told of organizations that left it stays."""
    connection.execute(
        text("DELETE FROM issues WHERE ingestor = :ingestor AND feed_id IS NULL AND code <> ALL(:kept)"),
        {"ingestor": ingestor, "kept": list(issues.OF_UNLISTED)},
    )
    issues.insert_of_registry(connection, ingestor, found)


def unchanged(identity: int, urn: str, brands: int) -> Registered:
    """An organization whose entry is as it was."""
    return Registered(identity, urn, "unchanged", Verdicts(read=brands, unchanged=brands))


def brand_counts(connection: Connection, ids: Sequence[int]) -> dict[int, int]:
    """How many brands the registry lists of each organization that it lists any of."""
    rows = connection.execute(
        text("""
            SELECT organization_id, count(*) FROM brands
            WHERE organization_id = ANY(:ids) AND origin = 'registry' GROUP BY organization_id
            """),
        {"ids": ids},
    )
    return {row[0]: row[1] for row in rows}


def _lock_known(connection: Connection, urns: list[str]) -> dict[str, Row[Any]]:
    rows = connection.execute(
        text("""
            SELECT id, urn, ingestor, is_stub, content_hash, retired_at IS NOT NULL AS is_retired FROM organizations
            WHERE urn = ANY(:urns) ORDER BY urn FOR NO KEY UPDATE
            """),
        {"urns": urns},
    )
    return {row.urn: row for row in rows}


def _write(connection: Connection, ingestor: str, entries: Sequence[OrganizationEntry]) -> dict[str, int]:
    """Writes organizations, by URN, so that two registries never wait for each other; returns their ids by URN."""
    connection.execute(
        text("""
            INSERT INTO organizations (urn, ingestor, is_stub, name, description, url, logo, same_as, feed_url, raw,
                content_hash)
            VALUES (:urn, :ingestor, false, :name, :description, :url, :logo, :same_as, :feed_url, :raw, :content_hash)
            ON CONFLICT (urn) DO UPDATE SET ingestor = excluded.ingestor, is_stub = false, name = excluded.name,
                description = excluded.description, url = excluded.url, logo = excluded.logo,
                same_as = excluded.same_as, feed_url = excluded.feed_url, raw = excluded.raw,
                content_hash = excluded.content_hash, updated_at = now()
            """),
        [
            {
                "urn": entry.urn,
                "ingestor": ingestor,
                "name": entry.name,
                "description": entry.description,
                "url": entry.url,
                "logo": entry.logo,
                "same_as": entry.same_as,
                "feed_url": entry.feed_url,
                "raw": entry.raw,
                "content_hash": entry.content_hash,
            }
            for entry in sorted(entries, key=lambda entry: entry.urn)
        ],
    )
    rows = connection.execute(
        text("SELECT id, urn FROM organizations WHERE urn = ANY(:urns)"), {"urns": [entry.urn for entry in entries]}
    )
    return {row.urn: row.id for row in rows}


def _write_brands(
    connection: Connection, ids: dict[str, int], entries: Sequence[OrganizationEntry]
) -> dict[str, Verdicts]:
    """Brings the registry's brands of organizations in line; one that left is no longer linked to."""
    listed = [(ids[entry.urn], brand) for entry in entries for brand in {b.urn: b for b in entry.brands}.values()]
    parameters = {
        "organizations": [identity for identity, _ in listed],
        "urns": [brand.urn for _, brand in listed],
        "names": [brand.name for _, brand in listed],
        "logos": [brand.logo for _, brand in listed],
        "ids": list(ids.values()),
    }
    verdicts = {ids[entry.urn]: Verdicts(read=len(entry.brands)) for entry in entries}
    for name, statement in _BRAND_STATEMENTS.items():
        for row in connection.execute(statement, parameters):
            verdict = verdicts[row.organization_id]
            setattr(verdict, name, getattr(verdict, name) + 1)
    for verdict in verdicts.values():
        verdict.unchanged = verdict.read - verdict.updated - verdict.inserted
    return {urn: verdicts[identity] for urn, identity in ids.items()}


_LISTED = """
    unnest(CAST(:organizations AS bigint[]), CAST(:urns AS text[]), CAST(:names AS text[]), CAST(:logos AS text[]))
        AS listed (organization_id, urn, name, logo)
    """
# What each changes of the registry's brands, in this order; each returns the organization of every brand it changed.
_BRAND_STATEMENTS = {
    "deleted": text(f"""
        UPDATE brands b SET origin = 'retired', updated_at = now()
        WHERE b.organization_id = ANY(CAST(:ids AS bigint[])) AND b.origin = 'registry' AND NOT EXISTS (
            SELECT FROM {_LISTED} WHERE listed.organization_id = b.organization_id AND listed.urn = b.urn)
        RETURNING b.organization_id
        """),  # noqa: S608 - a constant
    "updated": text(f"""
        UPDATE brands b SET name = listed.name, logo = listed.logo, updated_at = now() FROM {_LISTED}
        WHERE b.organization_id = listed.organization_id AND b.origin = 'registry' AND b.urn = listed.urn
            AND (b.name, b.logo) IS DISTINCT FROM (listed.name, listed.logo)
        RETURNING b.organization_id
        """),  # noqa: S608 - a constant
    "inserted": text(f"""
        INSERT INTO brands (organization_id, origin, urn, name, logo)
        SELECT organization_id, 'registry', urn, name, logo FROM {_LISTED}
        ON CONFLICT (organization_id, urn) WHERE origin = 'registry' DO NOTHING
        RETURNING organization_id
        """),  # noqa: S608 - a constant
}


def _write_categories(connection: Connection, ids: dict[str, int], entries: Sequence[OrganizationEntry]) -> None:
    categories.ensure(connection, {slug for entry in entries for slug in entry.categories})
    connection.execute(
        text("DELETE FROM organization_categories WHERE organization_id = ANY(:ids)"), {"ids": list(ids.values())}
    )
    connection.execute(
        text("""
            INSERT INTO organization_categories (organization_id, category_id)
            SELECT listed.id, c.id FROM unnest(CAST(:ids AS bigint[]), CAST(:paths AS text[])) AS listed (id, path)
            JOIN categories c USING (path)
            """),
        {
            "ids": [ids[entry.urn] for entry in entries for _ in entry.categories],
            "paths": [slug for entry in entries for slug in entry.categories],
        },
    )
