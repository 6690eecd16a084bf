"""What an ingestion tells: documents that others rely on."""

from typing import Any, TypedDict

from app.services.runs import Status


class RunReport(TypedDict):
    """One organization's part; `timings` are seconds by step, `error` is None when the run is a success."""

    id: str
    ingestor: str
    organization: str | None
    status: Status
    registry: dict[str, Any]
    feed: dict[str, Any]
    vector: dict[str, Any]
    issues: dict[str, int]
    timings: dict[str, float]
    error: str | None


class IngestReport(TypedDict):
    """All runs of an ingestion; `status` is the worst of theirs."""

    status: Status
    runs: list[RunReport]


class IngestorInfo(TypedDict):
    """An entry of `ingestion.yaml`."""

    name: str
    source_type: str
    registry: str | None
    feed_path: str | None
    schedule: str | None
