"""What the doors ask of the workers: starts of what `ingestion.yaml` lists, and of what was held."""

from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import DiscoveryNodeError
from app.db.session import is_away
from app.ingestors.reports import IngestorInfo
from app.services import messages
from app.worker.node import node
from app.worker.tasks.base import StartTask
from app.worker.tasks.ingest import ingest_all, ingest_released


class UnknownIngestorError(DiscoveryNodeError):
    """No entry of `ingestion.yaml` has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no ingestor {name!r}", remedy="`discovery-node ingestors` lists those of ingestion.yaml."
        )


def start_ingestor(name: str) -> UUID:
    """Starts an ingestor; returns the id of the start: of the one that is queued for it already, if there is one.
    Raises `UnknownIngestorError`."""
    entry = _entry(name)
    return _start(ingest_all, entry["name"], entry["source_type"], entry["registry"], entry["feed_path"])


def release(ingestor: str, organization: str | None, fingerprint: bytes) -> UUID:
    """Starts the ingestion that lets the organization's held publication through, or without one the retirements that
    the ingestor's registry was held for; returns the id of the start, as `start_ingestor` does. Raises
    `UnknownIngestorError`."""
    entry = _entry(ingestor)
    return _start(
        ingest_released, entry["name"], entry["source_type"], entry["registry"], entry["feed_path"], organization,
        fingerprint.hex(),
    )  # fmt: skip


def _start(task: StartTask, *arguments: str | None) -> UUID:
    start_id = UUID(task.delay(*arguments).id)
    try:
        with node().database.transaction() as connection:
            return messages.taker_of(connection, start_id)
    except (DiscoveryNodeError, SQLAlchemyError) as error:
        if not is_away(error):
            raise
        return start_id  # the worker writes it down


def _entry(name: str) -> IngestorInfo:
    for entry in node().manager().get_ingestors():
        if entry["name"] == name:
            return entry
    raise UnknownIngestorError(name)
