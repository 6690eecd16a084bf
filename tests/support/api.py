"""The API as it is served, in a thread of this process, and a client that asks it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from app.api.application import create_app
from app.api.server import FairServer, ServerConfig, listen
from app.core.config import Settings
from app.db.session import LiveDatabase
from app.services import keys
from app.worker import node as worker_node
from tests.support.services import until


class Api(httpx2.Client):
    """A client of an API that runs. `headers` of a request are added to none."""

    def __init__(self, port: int, database: LiveDatabase, openapi: dict[str, Any]) -> None:
        super().__init__(
            base_url=f"http://127.0.0.1:{port}", timeout=30, limits=httpx2.Limits(max_keepalive_connections=0)
        )
        self.port = port
        self.database = database
        self.openapi = openapi

    def key(self, scope: keys.Scope = "admin", **options: Any) -> dict[str, str]:
        """The headers of somebody with a new key."""
        with self.database.transaction() as connection:
            key, _ = keys.create(connection, scope, **options)
        return {"Authorization": f"Bearer {key}"}

    def problem(self, status: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The problem that a request is answered with."""
        response = self.request(method, path, **options)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = response.json()
        assert document["status"] == status
        return document


@contextmanager
def api(database: LiveDatabase, settings: Settings, **changed: Any) -> Iterator[Api]:
    """Serves the database, with some settings changed, by which starts are sent too."""
    chosen = settings.model_copy(update={"api_rate_limit": 0, "api_key_rate_limit": 0, **changed})
    app = create_app(chosen, database=LiveDatabase(database.engine.url.render_as_string(hide_password=False)))
    listening = listen("127.0.0.1", 0)
    server = FairServer(ServerConfig(chosen, lambda: app))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        with pytest.MonkeyPatch.context() as patch, Api(listening.getsockname()[1], database, app.openapi()) as client:
            worker_node.close()
            patch.setattr(worker_node, "get_settings", lambda: chosen)
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
