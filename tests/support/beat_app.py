"""The application that beats under test run: the node's settings, and tasks that do nothing. Each is published as the
node's own are, when its slot could be taken. A header tells the test which slot that was, and a file of the process
which slots it asked for."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import Task

from app.core.config import get_settings
from app.db.session import connect
from app.services.schedules import take_slot
from app.worker.celery_app import create
from app.worker.schedulers import slot_of

TASKS = (
    "ingest:all", "ingest:check_feed_updates", "ingest:update_embeddings", "ingest:recover", "cleanup:old_products",
    "cleanup:orphaned_data", "cleanup:celery_tasks",
)  # fmt: skip

app = create(get_settings())
app.conf.update(include=[])
_database = connect(get_settings())


class SlotTask(Task):
    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        found = slot_of(options["headers"], datetime.now(UTC))
        assert found is not None
        with Path(f"asked-{os.getpid()}").open("a") as asked:
            asked.write(f"{found[0]}\n")
        with _database.transaction() as connection:
            taken = take_slot(connection, *found)
        if not taken:
            return None
        options["headers"] = options["headers"] | {"due": found[1].isoformat()}
        return super().apply_async(args, kwargs, **options)


def _nothing(*args: Any) -> None:
    pass


for _name in TASKS:
    app.task(name=_name, base=SlotTask)(_nothing)
