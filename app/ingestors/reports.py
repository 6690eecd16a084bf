"""What an ingestion tells: documents that others rely on."""

from collections.abc import Sequence
from typing import Any, TypedDict

from app.services.runs import worst
from app.services.starts import Status


class RunReport(TypedDict):
    """One organization's part; `steps` are how the steps that were done ended, `timings` their seconds, `error` is None
    when the run is a success."""

    id: str
    ingestor: str
    organization: str | None
    status: Status
    steps: dict[str, Status]
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


class StepReport(TypedDict):
    """How a step ended, and what it did, summed up over all organizations."""

    status: str
    result: dict[str, Any]


class TaskReport(TypedDict):
    """What a task returns: the status of its start, and its steps, `skipped` where there was nothing to do."""

    status: str
    results: dict[str, StepReport]


def task_report(report: IngestReport, steps: Sequence[str]) -> TaskReport:
    """An ingestion by steps instead of by organizations."""
    return {"status": report["status"], "results": {step: _step_report(report["runs"], step) for step in steps}}


def _step_report(runs: Sequence[RunReport], step: str) -> StepReport:
    statuses = [run["steps"][step] for run in runs if step in run["steps"]]
    result: dict[str, Any] = {}
    for run in runs:
        parts = {"registry": run["registry"], "feed": run["feed"], "vector": run["vector"]}
        _add(result, parts[step])
    return {"status": worst(statuses) if statuses else "skipped", "result": result}


def _add(total: dict[str, Any], part: dict[str, Any]) -> None:
    """Adds up numbers, member by member."""
    for name, value in part.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value
