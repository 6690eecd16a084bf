"""`up`: the whole node on this machine."""

import signal
import sys
from pathlib import Path

import structlog
from rich.console import Console

from app.api.server import listen, processes
from app.cli.database import keep_database_up, opened, settings
from app.cli.output import console, counted
from app.core.config import Settings
from app.ingestors.config import load_config
from app.vectors.embedders.local import available_cores
from app.worker.redis_server import Broker, find_broker
from app.worker.supervisor import ChildFailedError, Supervisor, celery_children, only_one

log = structlog.get_logger()


def up(config: Path | None, concurrency: int) -> None:
    """Runs everything until Ctrl-C, or until something does not run at all."""
    # So that a node told to end while it starts stops the PostgreSQL it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = settings()
    if config is not None:
        found = found.model_copy(update={"ingestion_config_path": config})
    ingestors = counted(len(load_config(found.ingestion_config_path).ingestion), "ingestor")
    with only_one(found.data_dir.expanduser().resolve()):
        broker = find_broker(found)
        listening = listen(found.api_host, found.api_port) if found.api_enabled else None
        environment = _environment(found)
        workers = celery_children(environment, concurrency)
        if listening is not None:
            workers += processes(listening, found.api_workers or available_cores(), environment)
        servers = [broker.server] if broker.server else []
        supervisor = Supervisor(workers, servers, keep_up=lambda: keep_database_up(found))
        try:
            supervisor.run(lambda: _announce(console(), found, broker, ingestors, concurrency))
        except ChildFailedError as error:
            out = console(stderr=True)
            for line in error.last_words:
                out.print(f"{error.name} | {line}", soft_wrap=True)
            raise


def _environment(settings: Settings) -> dict[str, str]:
    """What worker and beat are told, with the database that is there now, at this version's schema."""
    database = opened(settings)
    database.engine.dispose()
    return {
        "DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "CELERY_BROKER_URL": settings.celery_broker_url.get_secret_value(),
        "CELERY_RESULT_BACKEND": settings.celery_result_backend.get_secret_value(),
        "INGESTION_CONFIG_PATH": str(settings.ingestion_config_path),
        "LOG_FORMAT": settings.log_format or ("console" if sys.stderr.isatty() else "json"),
    }


def _announce(out: Console, settings: Settings, broker: Broker, ingestors: str, concurrency: int) -> None:
    """What runs where, and what to do next."""
    own = settings.database_url is None
    database = f"embedded PostgreSQL in {settings.data_dir / 'postgres'}" if own else "PostgreSQL of DATABASE_URL"
    kept = f"started here, log in {broker.server.log}" if broker.server else "ran already and is left alone"
    lines = {
        "database": database,
        "broker": f"{broker.place}, {kept}",
        "worker": f"{counted(concurrency, 'task')} at once",
        "beat": f"{ingestors} in {settings.ingestion_config_path}",
        "api": f"http://{settings.api_host}:{settings.api_port}" if settings.api_enabled else "not served",
    }
    for subject, told in lines.items():
        out.print(f"{subject:<9} {told}", soft_wrap=True)
    out.print("Next, in another terminal: `discovery-node runs`, `discovery-node issues`. Ctrl-C here ends all.")
    sys.stdout.flush()
