"""What the node is measured against: the same rows, already parsed, through bare COPY and INSERT; the same texts
through a bare ONNX session."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard
from sqlalchemy import Connection

from app.cmp.feed import read_shard
from app.cmp.items import ItemContext, parse_item
from app.cmp.models import ProductItem
from app.cmp.registry import parse_registry
from app.db.publication import PRODUCT
from app.db.session import LiveDatabase, driver_connection
from app.vectors.embedders.local import LocalEmbedder

# What a row of each table takes, with its types. The rows are those the node writes for the same feed.
_TABLES = {
    "products": {
        "urn": "text", "name": "text", "description": "text", "url": "text", "image": "text", "sku": "text",
        "brand_name": "text", "gtins": "text[]", "mpn": "text", "content_hash": "bytea", "text_hash": "bytea",
        "raw": "bytea", "organization_id": "int8",
    },
    "offers": {
        "product_id": "int8", "ordinal": "int2", "price": "numeric", "currency": "text", "availability": "text",
        "inventory": "int8", "valid_until": "timestamptz", "url": "text",
    },
    "occurrences": {
        "shard_id": "int4", "position": "int4", "feed_id": "int8", "kind": "int2", "urn": "text",
        "item_hash": "bytea", "content_hash": "bytea", "offers": "int4", "offers_rejected": "int4",
    },
}  # fmt: skip
Rows = dict[str, list[tuple[Any, ...]]]


def copy_and_insert(database: LiveDatabase, folder: Path) -> float:
    """Seconds to COPY the products, offers and occurrences of a feed into unlogged tables, shard by shard, and to
    insert them into tables like the catalogue's: parsed, compressed and hashed before the clock starts."""
    shards = _parsed(folder)
    with database.transaction() as connection:
        for table, columns in _TABLES.items():
            definition = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            connection.exec_driver_sql(f"CREATE UNLOGGED TABLE staged_{table} ({definition})")
            connection.exec_driver_sql(f"CREATE TABLE bare_{table} (LIKE {table} INCLUDING ALL)")
    began = time.perf_counter()
    for rows in shards:
        with database.transaction(durable=False) as connection:
            for table in _TABLES:
                _copy(connection, table, rows[table])
    with database.transaction() as connection:
        for table, columns in _TABLES.items():
            listed = ", ".join(columns)
            connection.exec_driver_sql(f"INSERT INTO bare_{table} ({listed}) SELECT {listed} FROM staged_{table}")
    seconds = time.perf_counter() - began
    with database.transaction() as connection:
        for table in _TABLES:
            connection.exec_driver_sql(f"DROP TABLE bare_{table}, staged_{table}")
    return seconds


def _copy(connection: Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    columns = _TABLES[table]
    statement = f"COPY staged_{table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with driver_connection(connection).cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(columns.values()))
        for row in rows:
            copy.write_row(row)


def _parsed(folder: Path) -> list[Rows]:
    """The rows of each shard."""
    registry = parse_registry((folder / "registry.json").read_bytes())
    context = registry.organizations[0].item_context()
    return [_rows(number, path, context) for number, path in enumerate(sorted(folder.glob("feed-*.json")))]


def _rows(shard: int, path: Path, context: ItemContext) -> Rows:
    rows: Rows = {table: [] for table in _TABLES}
    compress = zstandard.ZstdCompressor(level=1).compress
    for position, raw in enumerate(read_shard(path.read_bytes()).items, 1):
        item = parse_item(raw, context).item  # type: ignore[union-attr]
        if not isinstance(item, ProductItem):
            continue
        rows["products"].append(
            (item.urn, item.name, item.description, item.url, item.image, item.sku, item.brand_name, item.gtins,
             item.mpn, item.content_hash, item.text_hash, compress(raw), 1)
        )  # fmt: skip
        rows["offers"].extend(
            (shard * 1_000_000 + position, ordinal, offer.price, offer.currency, offer.availability, offer.inventory,
             offer.valid_until, offer.url)
            for ordinal, offer in enumerate(item.offers, 1)
        )  # fmt: skip
        item_hash = sha256(raw).digest()[:16]
        rows["occurrences"].append(
            (shard, position, 1, PRODUCT, item.urn, item_hash, item.content_hash, item.offers_read, 0)
        )
    return rows


def bare_session(texts: Sequence[str]) -> float:
    """Seconds of the ONNX session alone: inputs made before the clock starts, one text per call, a thread per core."""
    embedder = LocalEmbedder()
    model = embedder.loaded()
    inputs = [model.inputs(text) for text in texts]
    began = time.perf_counter()
    with ThreadPoolExecutor(embedder.threads) as pool:
        for _ in pool.map(model.run, inputs):
            pass
    return time.perf_counter() - began
