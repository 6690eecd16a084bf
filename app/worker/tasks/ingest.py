"""Ingestion as tasks: starts, the helpers they invite, and what keeps them going."""

from collections.abc import Sequence
from typing import Any, TypedDict
from uuid import UUID

import structlog

from app.ingestors.checks import EntryCheck
from app.ingestors.handlers.reading import FeedRequest
from app.ingestors.reports import IngestReport
from app.services import vectors
from app.worker import recovery
from app.worker.celery_app import celery_app
from app.worker.node import node
from app.worker.tasks.base import NodeTask, StartTask, current_start

log = structlog.get_logger()

MAX_HELPERS = 8  # invited to one run
_INVITATION = 600  # seconds that an invitation stands


class CheckReport(TypedDict):
    """Feeds that were looked at, those that changed, starts that this led to, and feeds that could not be looked at."""

    status: str
    checked: int
    changed: int
    triggered: int
    errors: list[dict[str, str]]


class Invitations:
    """Invites idle workers with messages. A message that comes too late finds nothing to do."""

    def invite_to_stage(self, run_id: UUID, request: FeedRequest, revision: int, pieces: int) -> None:
        """Asks for help with `pieces` shards of a run."""
        arguments = [str(run_id), request.ingestor, request.source_type, request.path, request.publisher.id, revision]
        _invite(ingest_shard, [*arguments, request.full], pieces)

    def invite_to_embed(self, owner: UUID, pieces: int) -> None:
        """Asks for help with `pieces` batches of texts."""
        _invite(ingest_embed, [str(owner)], pieces)


@celery_app.task(base=StartTask, name="ingest:all")
def ingest_all(
    ingestor_name: str, source_type: str, registry_path: str | None = None, feed_path: str | None = None, *,
    organizations: Sequence[str] | None = None,
) -> IngestReport:  # fmt: skip
    """Registry, then feeds, then vectors; of these `organizations` only, when they are named."""
    log.info("ingesting", ingestor=ingestor_name)
    return node().manager(Invitations()).ingest_all(
        source_type, registry_path, feed_path, ingestor=ingestor_name, organizations=organizations,
        start=current_start(),
    )  # fmt: skip


@celery_app.task(base=StartTask, name="ingest:release")
def ingest_released(
    ingestor_name: str, source_type: str, registry_path: str | None, feed_path: str | None,
    organization: str | None, fingerprint: str,
) -> IngestReport:  # fmt: skip
    """The organization's feed again, whose held publication, of this fingerprint, an operator lets through; without
    an organization all of the ingestor, whose held retirements are let through."""
    log.info("ingesting what was held", ingestor=ingestor_name, organization=organization)
    return node().manager(Invitations()).ingest_all(
        source_type, registry_path, feed_path, ingestor=ingestor_name,
        organizations=None if organization is None else [organization],
        released=bytes.fromhex(fingerprint), start=current_start(),
    )  # fmt: skip


@celery_app.task(base=StartTask, name="ingest:registry", steps=("registry",))
def ingest_registry(ingestor_name: str, source_type: str, registry_path: str) -> IngestReport:
    """Organizations, brands and categories of a registry."""
    log.info("ingesting a registry", ingestor=ingestor_name)
    return node().manager().ingest_registry(source_type, registry_path, ingestor=ingestor_name, start=current_start())


@celery_app.task(base=StartTask, name="ingest:feed", steps=("feed", "vector"))
def ingest_feed(ingestor_name: str, source_type: str, feed_path: str) -> IngestReport:
    """One feed, and the vectors of what it changed."""
    log.info("ingesting a feed", ingestor=ingestor_name)
    return (
        node()
        .manager(Invitations())
        .ingest_feed(source_type, feed_path, ingestor=ingestor_name, steps=("feed", "vector"), start=current_start())
    )


@celery_app.task(base=StartTask, name="ingest:vector", steps=("vector",))
def ingest_vector(ingestor_name: str, source_type: str, registry_path: str | None = None) -> IngestReport:
    """The vectors of a registry's organizations, or of all."""
    log.info("indexing", ingestor=ingestor_name)
    return (
        node()
        .manager(Invitations())
        .ingest_vector(source_type, registry_path, ingestor=ingestor_name, start=current_start())
    )


@celery_app.task(base=StartTask, name="ingest:update_embeddings", steps=("vector",))
def update_embeddings() -> IngestReport:
    """Whatever is not in the search index yet."""
    return node().manager(Invitations()).update_embeddings(current_start())


@celery_app.task(base=NodeTask, name="ingest:shard", ignore_result=True)
def ingest_shard(
    run_id: str, ingestor: str, source_type: str, path: str, organization_id: int, revision: int, full: bool
) -> int:
    """Helps a run with its shards."""
    return (
        node().manager().stage_shards(UUID(run_id), ingestor, source_type, path, organization_id, revision, full=full)
    )


@celery_app.task(base=NodeTask, name="ingest:embed", ignore_result=True)
def ingest_embed(owner: str) -> int:
    """Helps a start with its texts."""
    return vectors.help_with(node().database, node().embedders, UUID(owner))


@celery_app.task(base=NodeTask, name="ingest:check_feed_updates")
def check_feed_updates() -> CheckReport:
    """Starts what changed since it was tried last."""
    checks = node().manager().check_feed_updates()
    triggered = sum(_trigger(check) for check in checks)
    errors = [
        {"ingestor": check.entry.name, "feed": feed, "error": error}
        for check in checks for feed, error in check.errors.items()
    ]  # fmt: skip
    report: CheckReport = {
        "status": "degraded" if errors else "success",
        "checked": sum(check.checked for check in checks),
        "changed": sum(len(check.changed) for check in checks),
        "triggered": triggered,
        "errors": errors,
    }
    log.info("feeds checked", **{name: report[name] for name in ("checked", "changed", "triggered")})
    return report


@celery_app.task(base=NodeTask, name="ingest:recover")
def recover() -> dict[str, int]:
    """What every worker does of itself, by hand or by beat."""
    return recovery.recover(celery_app)


def trigger_all() -> int:
    """Starts every ingestor of `ingestion.yaml`; returns their number."""
    entries = node().manager().get_ingestors()
    for entry in entries:
        ingest_all.delay(entry["name"], entry["source_type"], entry["registry"], entry["feed_path"])
    return len(entries)


def _trigger(check: EntryCheck) -> int:
    entry = check.entry
    if not (check.is_new or check.is_due or check.changed):
        return 0
    is_whole = check.is_new or check.is_due or entry.feed_path is not None
    only = None if is_whole else sorted(check.changed)
    ingest_all.delay(entry.name, entry.source_type, entry.registry, entry.feed_path, organizations=only)
    return 1


def _invite(task: Any, arguments: list[Any], pieces: int) -> None:
    """Nobody waits for helpers, so that a broker that is away does no harm."""
    for _ in range(min(pieces - 1, MAX_HELPERS)):
        try:
            task.apply_async(arguments, expires=_INVITATION, retry=False)
        except task.OperationalError as error:
            log.warning("no broker; nobody is asked to help", error=str(error))
            return
