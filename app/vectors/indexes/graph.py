"""Building the HNSW graph of a table: in parallel where there is shared memory for it, else by one process."""

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

log = structlog.get_logger()

MAX_MEMORY_MB = 512
"""Of a build, unless the server grants more: it holds the graph of some 400,000 vectors of 384 dimensions."""

# Variants of one product lie close together, and hide what else is near from a sparser graph.
_HNSW = "m = 16, ef_construction = 200"
_NODE = 700  # bytes of the graph for each vector, besides its numbers
_MARGIN = 1.2
_SHARE_MB = 32  # what PostgreSQL wants of the memory for each process that takes part
_NO_ROOM = frozenset({"53100", "53200"})  # of shared memory, which is what containers have little of


def build_graph(connection: Connection, table: str, dimensions: int) -> None:
    """Builds the index `TABLE_hnsw`. A parallel build takes all its memory from shared memory at once, so it fails at
    once where that is short, and is done again without."""
    rows: int = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
    workers = int(connection.exec_driver_sql("SHOW max_parallel_maintenance_workers").scalar_one())
    memory = fitting_memory(rows, dimensions, workers, _granted_mb(connection))
    statement = f"CREATE INDEX {table}_hnsw ON {table} USING hnsw (embedding halfvec_ip_ops) WITH ({_HNSW})"
    connection.exec_driver_sql(f"SET LOCAL maintenance_work_mem = '{memory}MB'")
    if workers:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _NO_ROOM:
                raise
            log.info("too little shared memory for a parallel build", table=table, megabytes=memory)
        else:
            return
    connection.exec_driver_sql("SET LOCAL max_parallel_maintenance_workers = 0")
    connection.exec_driver_sql(statement)


def fitting_memory(rows: int, dimensions: int, workers: int, granted: int) -> int:
    """Megabytes that the graph takes, so that no more is asked for than it needs: not less than all workers are
    granted to take part with, nor more than the server grants or the node allows itself."""
    needed = int(rows * (2 * dimensions + _NODE) * _MARGIN) >> 20
    return min(max(needed, _SHARE_MB * (workers + 1)), max(granted, MAX_MEMORY_MB))


def _granted_mb(connection: Connection) -> int:
    query = "SELECT pg_size_bytes(current_setting('maintenance_work_mem')) >> 20"
    return int(connection.exec_driver_sql(query).scalar_one())
