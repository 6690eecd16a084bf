"""`metrics`: what Prometheus asks, for a node whose workers do not answer it themselves."""

import signal
import sys

from app.cli.database import settings
from app.cli.output import console
from app.db.session import connect
from app.worker.celery_app import celery_app
from app.worker.metrics import DEFAULT_PORT, PATIENCE, NodeCollector, serve


def metrics(host: str | None, port: int | None) -> None:
    """Serves until it is told to end."""
    found = settings()
    chosen_host = host or found.metrics_host
    chosen_port = next((each for each in (port, found.metrics_port) if each is not None), DEFAULT_PORT)
    collector = NodeCollector(connect(found, patience=PATIENCE), celery_app)
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there are threads, which inherit it
    serving = serve(collector, chosen_host, chosen_port)
    console().print(f"Metrics at http://{chosen_host}:{serving}/metrics. Ctrl-C ends this.", soft_wrap=True)
    sys.stdout.flush()
    signal.sigwait(ends)
