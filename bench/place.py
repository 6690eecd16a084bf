"""Where it is measured: a PostgreSQL of the benchmark's own, feeds, and ingestions in processes of their own."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url

from app.db import schema
from app.db.session import LiveDatabase
from bench.feeds import Edit, Kind, write_feed
from bench.table import console

_numbers = itertools.count()


@dataclass(frozen=True)
class Bench:
    """A folder for feeds, and a server for databases."""

    folder: Path
    server_url: str

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a migrated database that goes when the block ends; a copy of another that nobody is using."""
        name = f"bench_{os.getpid()}_{next(_numbers)}"
        url = self.create(name, template)
        yield url
        execute(self.server_url, f"DROP DATABASE {name} WITH (FORCE)")

    def create(self, name: str, template: str = "template1") -> str:
        """The URL of a new database, migrated, in place of any of that name."""
        execute(
            self.server_url,
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            f"CREATE DATABASE {name} TEMPLATE {template}",
        )
        return self.migrated(name)

    def migrated(self, name: str) -> str:
        """The URL of a database, brought up to date."""
        url = make_url(self.server_url).set(database=name).render_as_string(hide_password=False)
        database = LiveDatabase(url)
        schema.upgrade(database)
        database.engine.dispose()
        return url

    def feed(self, products: int, edit: Edit | None = None, kind: Kind | None = None, *, name: str = "") -> Path:
        """A feed of so many products, as it is or edited, in a folder of that name, else of their number."""
        kind = kind or Kind()
        folder = self.folder / (
            name or f"{products}{'-single' if kind.single else ''}{'-worded' if kind.worded else ''}"
        )
        console.print(f"bench: writing a feed of {products:,} products")
        write_feed(folder, products, edit, kind)
        return folder


def execute(url: str, *statements: str) -> None:
    """Each by itself, outside of any transaction."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def ingest(url: str, place: Path | str, steps: str = "registry,feed") -> dict[str, Any]:
    """One ingestion in a process of its own: `bench.measure`'s document."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.measure", str(place), steps],
        env=os.environ | {"DATABASE_URL": url, "ALLOWED_PRIVATE_HOSTS": "127.0.0.1"},
        check=True,
        capture_output=True,
        text=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    if measured["run"]["status"] != "success":
        raise RuntimeError(f"The ingestion ended {measured['run']['status']}: {measured['run']['error']}")
    return measured
