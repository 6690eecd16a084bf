"""`serve`: the API over HTTP."""

import sys

from app.api.server import listen, processes, run
from app.cli.database import keep_database_up, opened, settings
from app.cli.output import console
from app.vectors.embedders.local import available_cores
from app.worker.supervisor import Supervisor


def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serves until it is told to end, from as many processes as there are cores unless somebody knows better."""
    found = settings()
    database = opened(found)
    chosen_host = host or found.api_host
    listening = listen(chosen_host, found.api_port if port is None else port)
    number = workers or found.api_workers or available_cores()
    place = f"http://{_shown(chosen_host)}:{listening.getsockname()[1]}"
    console().print(f"The API at {place}, {number} process{'' if number == 1 else 'es'}. Ctrl-C ends this.")
    sys.stdout.flush()
    url = database.engine.url.render_as_string(hide_password=False)
    database.engine.dispose()
    if number == 1:
        run(found, listening)
    else:
        children = processes(listening, number, {"DATABASE_URL": url})
        Supervisor(children, keep_up=lambda: keep_database_up(found)).run()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
