"""One publication into the catalogue: set-based, in the caller's transaction, under a lock on the organization.

Only URNs that a changed, added, removed or moved shard touches are looked at. Rows of `products` are looked up by
index, one by one, whatever the planner believes: a hash join would read the whole table, other organizations' too.
"""

from sqlalchemy import Connection

from app.db.merge.findings import replace_issues
from app.db.merge.occurrences import rank, register_shards, replace_occurrences, touch
from app.db.merge.rows import (
    add_brands,
    add_stubs,
    delete_vanished,
    merge_groups,
    merge_offers,
    merge_products,
    retire_groups,
)
from app.db.merge.step import MergeStep
from app.db.merge.winners import find_existing, find_vanished, find_winners, hold_categories, require_content
from app.db.publication import MergeReport, Publication, PublicationMovedError, StagingLostError

__all__ = ["merge"]


def merge(connection: Connection, publication: Publication) -> MergeReport:
    """Applies a publication and reports what it did.

    Raises `PublicationMovedError`, `StagingLostError`, `ContentNeededError`, `CategoriesLostError` or
    `DeletionsHeldError`, after any of which the caller's transaction must roll back.
    """
    step = MergeStep(connection, publication)
    live = _lock(step)
    _require_staged(step)
    register_shards(step)
    touch(step)
    replace_occurrences(step)
    rank(step)
    find_winners(step)
    find_existing(step)
    require_content(step)
    find_vanished(step, live["products"])
    hold_categories(step)
    add_brands(step)
    merge_groups(step)
    add_stubs(step)
    merge_products(step)
    merge_offers(step)
    delete_vanished(step)
    retire_groups(step)
    replace_issues(step)
    _finish(step, live)
    step.drop_temporaries()
    return step.report


def _lock(step: MergeStep) -> dict[str, int]:
    """Takes the organization's lock, and checks that the catalogue is as the publication was read against."""
    # The keys are spread evenly: a small sample tells the planner enough, at a tenth of the cost.
    step.connection.exec_driver_sql("SET LOCAL default_statistics_target = 10")
    step.execute("SELECT pg_advisory_xact_lock(hashtextextended('organization', :organization))")
    row = step.execute(
        "SELECT revision, live_products, live_groups, live_offers FROM feeds WHERE id = :feed FOR UPDATE"
    ).one()
    if row.revision != step.publication.revision:
        raise PublicationMovedError("The catalogue changed while the feed was read")
    return {"products": row.live_products, "product_groups": row.live_groups, "offers": row.live_offers}


def _require_staged(step: MergeStep) -> None:
    staging = step.publication.staging
    urls = {shard.ordinal: shard.url for shard in step.publication.shards}
    shards = [shard.ordinal for shard in step.publication.shards if shard.staged]
    for ordinal in staging.markers(step.connection).keys() - shards:
        # A lost worker had staged it, and it is again as it was before.
        staging.forget(step.connection, ordinal, urls[ordinal])
    if lost := staging.incomplete(step.connection, shards):
        raise StagingLostError(lost)
    staging.analyze(step.connection)


def _finish(step: MergeStep, live: dict[str, int]) -> None:
    """Completes the counts and moves the feed's checkpoint."""
    report = step.report
    report.complete([shard.counts for shard in step.publication.shards], **live)
    step.execute(
        """
        UPDATE feeds SET revision = revision + 1, context_hash = :context_hash,
            fingerprint = :fingerprint, attempted_fingerprint = :fingerprint, verdict = 'applied',
            live_products = live_products + :products,
            live_groups = live_groups + :groups, live_offers = live_offers + :offers,
            seen = :seen, merged_at = now(), updated_at = now()
        WHERE id = :feed
        """,
        context_hash=step.publication.context_hash,
        fingerprint=step.publication.fingerprint,
        seen=step.publication.seen and step.publication.seen.as_json(),
        products=report.products.inserted - report.products.deleted,
        groups=report.product_groups.inserted - report.product_groups.deleted,
        offers=report.offers.inserted - report.offers.deleted,
    )
