"""Ingestions that run beside what is measured: the command line's own, of a feed that changed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import yaml

from bench.catalogues import WORDED
from bench.feeds import Edit
from bench.place import Bench
from bench.table import REPEATS

_CHANGED = Edit(changed_every=20)  # one of twenty has another description and another price


def ingestions(bench: Bench, url: str, products: int) -> Iterator[Callable[[], bool]]:
    """For each ingestion, while it runs, what tells whether it still does: of a feed in which products changed, and
    changed back. The next begins when the caller comes back for it."""
    for number in range(REPEATS):
        feed = bench.feed(products, None if number % 2 else _CHANGED, WORDED, name=f"{products}-changing")
        environment = os.environ | {"DATABASE_URL": url, "LOG_LEVEL": "warning"}
        with subprocess.Popen(_command(feed), env=environment, stdout=subprocess.DEVNULL) as process:
            yield partial(_runs, process)
        if process.returncode:
            raise RuntimeError(f"The ingestion ended with {process.returncode}")


def _runs(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _command(feed: Path) -> list[str]:
    """`discovery-node ingest` of the catalogue's ingestor, whose feed has moved."""
    entry = {"name": "bench", "source_type": "local", "registry": str(feed / "registry.json"), "schedule": "0 4 * * *"}
    config = feed / "ingestion.yaml"
    config.write_text(yaml.safe_dump({"ingestion": [entry]}))
    return [str(Path(sys.executable).with_name("discovery-node")), "ingest", "--config", str(config)]
