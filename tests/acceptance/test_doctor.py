"""`doctor` about broker, workers and beat: notes for who never used them, what is broken for who did."""

import re
import time
from pathlib import Path
from uuid import uuid4

from app.db.session import LiveDatabase
from app.services import messages
from app.services.messages import Wanted
from tests.acceptance.conftest import CommandLine
from tests.support.embedding_service import DIMENSIONS, KEY, MODEL, EmbeddingService
from tests.support.processes import processes, until
from tests.support.web import WebServer

NOWHERE = {"CELERY_BROKER_URL": "redis://:secret@127.0.0.1:1/0", "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/1"}


def use_workers(database: LiveDatabase) -> None:
    """As who sent a task, an hour ago."""
    with database.transaction() as connection:
        messages.record(connection, Wanted(uuid4(), "ingest:all", "acme", {"ingestor_name": "acme"}))
        connection.exec_driver_sql("UPDATE starts SET due_at = now() - interval '1 hour'")
        connection.exec_driver_sql(
            "INSERT INTO starts (id, ingestor, status) SELECT gen_random_uuid(), 'a', unnest(ARRAY['failed', 'held'])"
        )


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def test_what_was_never_used_is_not_broken(command: CommandLine, database_url: str) -> None:
    (command.folder / "ingestion.yaml").write_text("ingestion: []")
    began = time.monotonic()
    told = command.done("doctor", DATABASE_URL=database_url, PINECONE_ENVIRONMENT="us-west1-gcp", **NOWHERE)
    assert time.monotonic() - began < 8  # the embedding model is tried too
    assert "note   broker: Nothing answers at 127.0.0.1:1, which CELERY_BROKER_URL names" in told
    assert "→ Run `discovery-node up`" in told
    assert "note   workers: none was heard of" in told
    assert "note   beat: none ever" in told
    assert "note settings: PINECONE_ENVIRONMENT is obsolete" in in_one_line(told)
    assert "All is well." in told
    assert "secret" not in told


def test_an_embedding_service_is_tried(command: CommandLine, database_url: str) -> None:
    (command.folder / "ingestion.yaml").write_text("ingestion: []")
    with WebServer(EmbeddingService()) as server:
        asked = {
            "EMBEDDING_PROVIDER": "openai", "EMBEDDING_BASE_URL": f"{server.url}/v1", "EMBEDDING_MODEL": MODEL,
            "EMBEDDING_DIMENSIONS": str(DIMENSIONS), "EMBEDDING_API_KEY": KEY,
            "ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{server.port}",
        }  # fmt: skip
        told = in_one_line(command.done("doctor", DATABASE_URL=database_url, **NOWHERE, **asked))
        assert f"ok embedding model: {MODEL} (openai, {server.url}/v1, {DIMENSIONS} dimensions) works" in told
        wrong = command("doctor", DATABASE_URL=database_url, **NOWHERE, **asked | {"EMBEDDING_API_KEY": "sk-wrong"})
    assert wrong.returncode == 1
    assert "broken embedding model" in wrong.stdout
    assert "Check EMBEDDING_API_KEY" in wrong.stdout
    assert "sk-" not in told + wrong.stdout + wrong.stderr


def test_what_is_missing_is_told_where_tasks_were_sent(
    command: CommandLine, database: LiveDatabase, database_url: str
) -> None:
    (command.folder / "ingestion.yaml").write_text("ingestion: []")
    use_workers(database)
    with database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO beat_slots VALUES ('recover', now(), now() - interval '5 minutes')")
    result = command("doctor", DATABASE_URL=database_url, **NOWHERE)
    assert result.returncode == 1
    for told in (
        "broken broker: Nothing answers", "broken workers: none", "broken beat: it sent something 30",
        "note lag: 1 start queued, 0 running; the one that waits longest was due 60 minutes ago",
        "note starts: of the last day 1 start failed and 1 is held", "3 things to mend.",
    ):  # fmt: skip
        assert told in in_one_line(result.stdout)


def test_all_is_well_where_everything_runs(tmp_path: Path, database: LiveDatabase, database_url: str) -> None:
    use_workers(database)
    with processes(tmp_path, database_url) as node:
        beat = node.start("beat", "--loglevel=info", RECOVERY_INTERVAL="1")
        node.worker("--queues=control")
        until(lambda: beat.events("Scheduler: Sending due task recover (ingest:recover)"))
        doctor = CommandLine(tmp_path, node.environment)
        told = in_one_line(doctor.done("doctor"))
        results = f"db+{database_url.replace('+psycopg', '')}"
        other = in_one_line(doctor.done("doctor", CELERY_RESULT_BACKEND=results))
    for each in ("broker: Redis at 127.0.0.1:", "results: Redis at 127.0.0.1:", "workers: 1 worker", "beat: it sent"):
        assert f"ok {each}" in told
    assert re.search(r"messages: \d in control, \d in ingest, \d in embed", told)
    assert "ok results: the database postgresql" in other
