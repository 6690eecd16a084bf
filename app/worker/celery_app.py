"""The Celery application. `docs/operations.md` gives the reason of each setting."""

from celery import Celery
from kombu import Exchange, Queue

from app.core.config import Settings, get_settings
from app.worker import flower, lifecycle
from app.worker.queues import CONTROL, LONGEST_COUNTDOWN, QUEUES, ROUTES
from app.worker.schedulers import DeclaredSchedule

TIME_LIMIT = 3600  # seconds, after which a child is killed
SOFT_TIME_LIMIT = 3300  # seconds, after which a task gives its work back
# A message that is not acknowledged for so long is sent again: later than anything that may still be working on it.
VISIBILITY_TIMEOUT = TIME_LIMIT + LONGEST_COUNTDOWN + 600
_CONNECT_TIMEOUT = 5  # seconds that whoever sends waits for a Redis that does not answer


def create(settings: Settings) -> Celery:
    """The application with these settings."""
    app = Celery("cmp_discovery", include=["app.worker.tasks.ingest", "app.worker.tasks.cleanup"])
    app.loader.override_backends = {"redis": "app.worker.results:RedisResults"}
    redis_options = {
        "visibility_timeout": VISIBILITY_TIMEOUT, "socket_keepalive": True, "health_check_interval": 30,
        "socket_connect_timeout": _CONNECT_TIMEOUT,
    }  # fmt: skip
    app.conf.update(
        broker_url=settings.celery_broker_url.get_secret_value(),
        result_backend=_result_backend(settings.celery_result_backend.get_secret_value()),
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        timezone="UTC",
        enable_utc=True,
        # What is taken is begun at once, and acknowledged when it is done.
        worker_prefetch_multiplier=1,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=TIME_LIMIT,
        task_soft_time_limit=SOFT_TIME_LIMIT,
        task_track_started=True,
        # Kept in three places: for messages, for results, and for the Redis transport of older options.
        visibility_timeout=VISIBILITY_TIMEOUT,
        broker_transport_options=redis_options,
        result_backend_transport_options=redis_options,
        result_expires=settings.celery_result_retention_days * 86_400,
        result_extended=False,  # arguments may hold signed URLs
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        task_default_queue=CONTROL,
        task_default_exchange=CONTROL,
        task_default_routing_key=CONTROL,
        task_create_missing_queues=False,
        task_routes={name: {"queue": queue} for name, queue in ROUTES.items()},
        worker_max_tasks_per_child=200,
        worker_max_memory_per_child=1_500_000,  # KiB
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=20,
        # What waits for its time in memory is sent again by the ledger: an idle worker need not stay for it.
        worker_enable_soft_shutdown_on_idle=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        beat_schedule=DeclaredSchedule(settings),
        beat_scheduler="app.worker.schedulers:FileScheduler",
        beat_schedule_filename=str(settings.data_dir.expanduser() / "celerybeat-schedule"),
    )
    return app


def _result_backend(url: str) -> str:
    """The same backend with the driver the node has: for PostgreSQL that is psycopg 3."""
    scheme, separator, rest = url.partition("://")
    return f"db+postgresql+psycopg://{rest}" if separator and scheme in {"db+postgresql", "db+postgres"} else url


lifecycle.connect()
flower.guard()
celery_app = create(get_settings())
