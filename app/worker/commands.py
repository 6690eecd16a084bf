"""What the doors ask of the workers: starts of what `ingestion.yaml` lists, and of what was held."""

from uuid import UUID

from app.core.errors import DiscoveryNodeError
from app.ingestors.reports import IngestorInfo
from app.worker.node import node
from app.worker.tasks.ingest import ingest_all, ingest_released


class UnknownIngestorError(DiscoveryNodeError):
    """No entry of `ingestion.yaml` has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no ingestor {name!r}", remedy="`discovery-node ingestors` lists those of ingestion.yaml."
        )


def start_ingestor(name: str) -> UUID:
    """Starts an ingestor; returns the id of the start. Raises `UnknownIngestorError`."""
    entry = _entry(name)
    sent = ingest_all.delay(entry["name"], entry["source_type"], entry["registry"], entry["feed_path"])
    return UUID(sent.id)


def release(ingestor: str, organization: str | None, fingerprint: bytes) -> UUID:
    """Starts the ingestion that lets the organization's held publication through, or without one the retirements that
    the ingestor's registry was held for; returns the id of the start. Raises `UnknownIngestorError`."""
    entry = _entry(ingestor)
    sent = ingest_released.delay(
        entry["name"], entry["source_type"], entry["registry"], entry["feed_path"], organization, fingerprint.hex()
    )
    return UUID(sent.id)


def _entry(name: str) -> IngestorInfo:
    for entry in node().manager().get_ingestors():
        if entry["name"] == name:
            return entry
    raise UnknownIngestorError(name)
