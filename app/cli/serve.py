"""`serve`: the API over HTTP."""

import os
import sys

from app.api.server import listen
from app.api.server import serve as run
from app.cli.database import opened, settings
from app.cli.output import console
from app.vectors.embedders.local import available_cores


def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serves until it is told to end, from as many processes as there are cores unless somebody knows better."""
    found = settings()
    database = opened(found)
    chosen_host = host or found.api_host
    listening = listen(chosen_host, found.api_port if port is None else port)
    processes = workers or found.api_workers or available_cores()
    # Further processes read the settings anew, and must not start another database.
    os.environ["DATABASE_URL"] = database.engine.url.render_as_string(hide_password=False)
    database.engine.dispose()
    place = f"http://{_shown(chosen_host)}:{listening.getsockname()[1]}"
    many = f"{processes} process{'' if processes == 1 else 'es'}"
    console().print(f"The API at {place}, {many}. Ctrl-C ends this.", soft_wrap=True)
    sys.stdout.flush()
    run(found, listening, processes)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
