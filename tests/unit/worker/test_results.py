"""Sending, where a Redis should be and is not."""

import time

import pytest
from kombu.exceptions import OperationalError

from app.core.config import Settings
from app.worker.celery_app import create


def test_without_a_redis_sending_fails_soon_and_with_the_error_that_senders_know() -> None:
    nowhere = "redis://127.0.0.1:1/0"
    app = create(Settings(_env_file=None, celery_broker_url=nowhere, celery_result_backend=nowhere))
    began = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("ingest:recover")
    assert time.monotonic() - began < 10
