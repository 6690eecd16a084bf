"""How the node itself does, for those who run it."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.authentication import Admin
from app.api.negotiation import answer
from app.api.node import node_of
from app.api.openapi import NEEDS_ADMIN, answers
from app.api.schemas import SystemShape
from app.ingestors.cron import following, latest_multiple
from app.services import feeds, index_state, metrics, schedules, workers
from app.services.products import without_none

router = APIRouter(tags=["operations"])


@router.get("/system", responses=answers(SystemShape), openapi_extra=NEEDS_ADMIN)
def system(request: Request, _caller: Admin) -> Response:
    """Workers, schedules and their due times, what waits, how old each feed is, and the search index."""
    with node_of(request).reading() as connection:
        readings = metrics.read(connection)
        last = schedules.last_slots(connection)
        planned = [_schedule(each, last) for each in schedules.listed(connection)]
        fresh = [_feed(each) for each in feeds.freshness(connection)]
        living = [asdict(worker) for worker in workers.alive(connection)]
        index = [{**asdict(state), "in_sync": state.in_sync} for state in index_state.states(connection)]
    document = {
        "workers": living,
        "schedules": planned,
        "queue": {
            "queued": readings.queued,
            "running": readings.running,
            "oldestSeconds": readings.oldest_queued,
            "beatSeconds": readings.beat_age,
        },
        "feeds": fresh,
        "feedsHeld": readings.feeds_held,
        "index": index,
    }
    return answer(request, document, page="system")


def _schedule(planned: schedules.Listed, last: dict[str, Any]) -> dict[str, Any]:
    return without_none(
        {
            "name": planned.name,
            "task": planned.task,
            "cron": planned.cron,
            "everySeconds": planned.every,
            "enabled": planned.enabled,
            "lastDueAt": last.get(planned.name),
            "nextDueAt": _next_due(planned, datetime.now(UTC)) if planned.enabled else None,
        }
    )


def _next_due(planned: schedules.Planned, now: datetime) -> datetime | None:
    """None of what is never due, such as a row that an operator got wrong."""
    try:
        if planned.cron is not None:
            return following(planned.cron, now)
        step = timedelta(seconds=planned.every or 0)
        return latest_multiple(planned.every or 0, now) + step
    except (ValueError, ArithmeticError):
        return None


def _feed(found: feeds.Freshness) -> dict[str, Any]:
    return without_none(
        {
            "organization": found.organization,
            "name": found.name,
            "ageSeconds": found.age,
            "verdict": found.verdict,
        }
    )
