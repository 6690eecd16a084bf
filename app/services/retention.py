"""The clean-up: what was deleted long ago, what nothing refers to any more, and what the ledger need not remember.

Everything is done in short transactions of a bounded number of rows, beside ingestions. What a merge reads and links to
goes under the lock that a merge of the organization holds; an organization that is being merged is skipped, and comes
next time. Should the server crash, a batch may come back: the next clean-up finds it again.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, text

from app.db.session import Database
from app.db.staging import leftovers
from app.services import generations, losses, retired
from app.services.unneeded import (
    EMPTY_CATEGORIES,
    EXPIRED_CATALOGUE,
    LOOSE_ROWS,
    OLD_ISSUES,
    OLD_STARTS,
    ORPHANED_CATALOGUE,
    Part,
    Unneeded,
)

log = structlog.get_logger()

BATCH = 1000
"""Rows of one table that a transaction removes, not counting those that go with them."""


def purge_products(
    database: Database, retention_days: int, *, batch: int = BATCH, dry_run: bool = False
) -> dict[str, int]:
    """Removes for good what was deleted longer ago: products with their offers and their rows of every search index,
    and groups that no product is left of. `skipped` organizations were being merged."""
    counted = ("products", "offers", "vectors", "product_groups", "skipped")
    cleanup = _CleanUp(database, counted, {"days": retention_days}, batch, dry_run=dry_run)
    cleanup.clear_catalogue(EXPIRED_CATALOGUE)
    return cleanup.told("products purged")


def remove_orphans(
    database: Database, *, delete_empty_categories: bool, batch: int = BATCH, dry_run: bool = False
) -> dict[str, int]:
    """Removes what nothing refers to, or what belongs to something that is gone: brands that only feeds named or that
    left their registry, groups that are mere stubs or deleted, empty categories if wanted, all that is left of an
    organization that is gone, search indexes that were replaced (`generations`), and the staging tables of runs that
    are over (`staging` counts the runs). `skipped` organizations were being merged. A dry run does not count what only
    these removals would set free."""
    counted = ("organization_categories", "products", "offers", "vectors", "occurrences", "product_groups", "brands",
               "categories", "staging", "generations", "skipped")  # fmt: skip
    cleanup = _CleanUp(database, counted, {}, batch, dry_run=dry_run)
    cleanup.clear_catalogue(ORPHANED_CATALOGUE)
    cleanup.clear(LOOSE_ROWS)
    if delete_empty_categories:
        cleanup.clear_categories()
    cleanup.counts["generations"] = retired.drop_retired(database, dry_run=dry_run)
    cleanup.counts["staging"] = _count_leftovers(database) if dry_run else losses.drop_leftovers(database)
    return cleanup.told("orphans removed")


def expire_ledger(
    database: Database, *, run_retention_days: int, batch: int = BATCH, dry_run: bool = False
) -> dict[str, int]:
    """Removes starts that ended longer ago, with their runs, but for the one with an organization's latest run; and the
    issues of registries that were not read since, by ingestors that no organization or feed belongs to."""
    with database.transaction() as connection:
        parameters = {"days": run_retention_days, "kept": _latest_starts(connection)}
    cleanup = _CleanUp(database, ("starts", "runs", "issues"), parameters, batch, dry_run=dry_run)
    cleanup.clear((OLD_STARTS, OLD_ISSUES))
    return cleanup.told("ledger expired")


class _CleanUp:
    """One clean-up and its counts. A dry run only counts."""

    def __init__(
        self, database: Database, counted: Sequence[str], parameters: Mapping[str, Any], batch: int, *, dry_run: bool
    ) -> None:
        self._database = database
        self._parameters = parameters
        self._batch = batch
        self._dry_run = dry_run
        self.counts = Counter(dict.fromkeys(counted, 0))

    def clear_catalogue(self, kinds: Sequence[Unneeded]) -> None:
        """Removes rows of organizations, those of each under its lock, in the order of their kinds."""
        if self._dry_run:
            self._count(kinds)
            return
        with self._database.transaction() as connection:
            owners = {owner for kind in kinds for owner in kind.organizations(connection, self._parameters)}
        for owner in sorted(owners):
            self._repeat(partial(self._clear_owned, kinds, owner))

    def clear(self, kinds: Sequence[Unneeded]) -> None:
        """Removes rows that no merge looks at."""
        if self._dry_run:
            self._count(kinds)
            return
        for kind in kinds:
            self._repeat(partial(self._clear_batch, kind))

    def clear_categories(self) -> None:
        """Removes the categories that nothing refers to, from the deepest up."""
        if self._dry_run:
            query = text(f"SELECT count(*) FROM ({EMPTY_CATEGORIES}) AS empty")
            with self._database.transaction() as connection:
                self.counts["categories"] = connection.execute(query, {"among": None}).scalar_one()
            return
        self._repeat(self._clear_categories)

    def told(self, event: str) -> dict[str, int]:
        """The counts, which are logged."""
        log.info(event, dry_run=self._dry_run, **self.counts)
        return dict(self.counts)

    def _repeat(self, clear: Callable[[Connection], bool]) -> None:
        """Clears batch by batch, each in a transaction of its own, until there is no more."""
        more = True
        while more:
            with self._database.transaction(durable=False) as connection:
                more = clear(connection)

    def _clear_owned(self, kinds: Sequence[Unneeded], owner: int, connection: Connection) -> bool:
        parts = {kind: _parts(connection, kind) for kind in kinds}
        if not _try_lock(connection, owner):
            self.counts["skipped"] += 1
            return False
        return any(self._remove(connection, kind, parts[kind], owner) for kind in kinds)

    def _clear_batch(self, kind: Unneeded, connection: Connection) -> bool:
        return self._remove(connection, kind, _parts(connection, kind))

    def _remove(self, connection: Connection, kind: Unneeded, parts: Sequence[Part], owner: int | None = None) -> bool:
        """Removes a batch; True when it was full, so that more may be left."""
        keys = kind.lock(connection, self._parameters, self._batch, owner)
        for part in parts:
            self.counts[part.name] += part.delete(connection, kind, keys)
        self.counts[kind.table] += kind.delete(connection, keys)
        return len(keys) == self._batch

    def _clear_categories(self, connection: Connection) -> bool:
        """Removes those that are still empty once they are locked: what links to a category holds it meanwhile, and so
        either had its lock, and was left out, or is seen by the second look. None goes before what is below it."""
        query = f"""
            SELECT id FROM categories WHERE id IN ({EMPTY_CATEGORIES})
            ORDER BY depth DESC, id LIMIT :limit FOR UPDATE SKIP LOCKED
            """
        locked = connection.execute(text(query), {"among": None, "limit": self._batch}).scalars().all()
        statement = text(f"DELETE FROM categories WHERE id IN ({EMPTY_CATEGORIES})")
        removed = connection.execute(statement, {"among": locked}).rowcount
        self.counts["categories"] += removed
        return removed == self._batch

    def _count(self, kinds: Sequence[Unneeded]) -> None:
        with self._database.transaction() as connection:
            for kind in kinds:
                self.counts[kind.table] += kind.count(connection, self._parameters)
                for part in _parts(connection, kind):
                    self.counts[part.name] += part.count(connection, kind, self._parameters)


def _parts(connection: Connection, kind: Unneeded) -> list[Part]:
    """What goes with rows of that kind. Tables of the search index are held, which may have to be waited for."""
    if kind.table == "products":
        indexes = [Part("vectors", table, "product_id") for table in generations.hold_tables(connection)]
        return [Part("offers", "offers", "product_id"), *indexes]
    return [Part("runs", "runs", "start_id")] if kind.table == "starts" else []


def _try_lock(connection: Connection, organization_id: int) -> bool:
    """Takes the lock that merges of the organization take; False when one has it."""
    query = text("SELECT pg_try_advisory_xact_lock(hashtextextended('organization', :organization))")
    locked: bool = connection.execute(query, {"organization": organization_id}).scalar_one()
    return locked


def _latest_starts(connection: Connection) -> list[UUID]:
    """The starts that hold the latest ended run of an organization."""
    rows = connection.exec_driver_sql(
        """
        SELECT DISTINCT ON (organization_id) start_id FROM runs
        WHERE organization_id IS NOT NULL AND finished_at IS NOT NULL
        ORDER BY organization_id, finished_at DESC, id
        """
    )
    return list(rows.scalars())


def _count_leftovers(database: Database) -> int:
    """How many runs staging tables are left of that no worker holds."""
    with database.transaction() as connection:
        query = text("""
            SELECT count(*) FROM unnest(CAST(:runs AS uuid[])) AS leftover (id) WHERE NOT EXISTS (
                SELECT FROM runs r
                WHERE r.id = leftover.id AND r.status IN ('running', 'waiting'))
            """)
        count: int = connection.execute(query, {"runs": leftovers(connection)}).scalar_one()
    return count
