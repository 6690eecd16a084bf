"""Clean-up as tasks."""

import structlog

from app.services import retention
from app.worker.celery_app import celery_app
from app.worker.node import node
from app.worker.results import expire_results
from app.worker.tasks.base import NodeTask

log = structlog.get_logger()


@celery_app.task(base=NodeTask, name="cleanup:old_products")
def old_products(dry_run: bool = False) -> dict[str, int]:
    """Removes for good what was deleted longer ago than the retention, with its vectors."""
    return retention.purge_products(node().database, node().settings.deleted_product_retention_days, dry_run=dry_run)


@celery_app.task(base=NodeTask, name="cleanup:orphaned_data")
def orphaned_data(dry_run: bool = False) -> dict[str, int]:
    """Removes what nothing refers to any more; a dry run only counts it."""
    delete_empty_categories = node().settings.delete_empty_categories
    return retention.remove_orphans(node().database, delete_empty_categories=delete_empty_categories, dry_run=dry_run)


@celery_app.task(base=NodeTask, name="cleanup:celery_tasks")
def celery_tasks(dry_run: bool = False) -> dict[str, int]:
    """Removes results that expired, runs that are older than the retention, and issues of feeds that are gone."""
    counts = retention.expire_ledger(
        node().database, run_retention_days=node().settings.run_retention_days, dry_run=dry_run
    )
    return counts | {"results": expire_results(celery_app, dry_run=dry_run)}
