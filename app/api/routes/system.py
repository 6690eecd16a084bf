"""How the node itself does, for those who run it."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.authentication import Admin
from app.api.negotiation import answer
from app.api.node import node_of
from app.api.openapi import NEEDS_ADMIN, answers
from app.api.schemas import SystemShape
from app.services import index_state, metrics, schedules, workers
from app.services.products import without_none

router = APIRouter(tags=["operations"])


@router.get("/system", responses=answers(SystemShape), openapi_extra=NEEDS_ADMIN)
def system(request: Request, _caller: Admin) -> Response:
    """Workers, schedules and their last due times, what waits, how old each feed is, and the search index."""
    with node_of(request).reading() as connection:
        readings = metrics.read(connection)
        last = schedules.last_slots(connection)
        planned = [_schedule(each, last) for each in schedules.listed(connection)]
        living = [asdict(worker) for worker in workers.alive(connection)]
        index = [asdict(state) for state in index_state.states(connection)]
    document = {
        "workers": living,
        "schedules": planned,
        "queue": {
            "queued": readings.queued,
            "running": readings.running,
            "oldestSeconds": readings.oldest_queued,
            "beatSeconds": readings.beat_age,
        },
        "feeds": [{"organization": urn, "ageSeconds": age} for urn, age in sorted(readings.feed_ages.items())],
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
        }
    )
