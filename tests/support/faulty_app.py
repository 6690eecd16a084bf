"""The node's application, with tasks that fail, and a scheduler that does."""

from typing import Any

from celery.beat import Scheduler

from app.core.errors import DiscoveryNodeError
from app.worker.celery_app import celery_app
from app.worker.tasks.base import NodeTask

CONTENT = "Ridgeline Insulated Mug"


@celery_app.task(base=NodeTask, name="test:unforeseen")
def unforeseen(argument: str) -> None:
    document = {"name": CONTENT}
    try:
        raise KeyError(document["name"])
    except KeyError as error:
        raise RuntimeError(f"no idea what to do with {document} and {argument}") from error


@celery_app.task(base=NodeTask, name="test:foreseen")
def foreseen() -> None:
    raise DiscoveryNodeError(f"{CONTENT} has no price", remedy="Add one.")


class FaultyScheduler(Scheduler):
    def tick(self, *_: Any, **__: Any) -> float:
        raise RuntimeError(CONTENT)
