"""What the node is measured against: the same rows, already parsed, through bare COPY and INSERT; the same texts
through a bare ONNX session."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import zstandard

from app.cmp.feed import read_shard
from app.cmp.items import ItemContext, parse_item
from app.cmp.models import ProductItem
from app.cmp.registry import parse_registry
from app.db.publication import PRODUCT
from app.db.session import LiveDatabase
from app.db.staging import Batch, StagingTables
from app.vectors.embedders.local import LocalEmbedder

_PRODUCT = "name, description, url, image, sku, brand_name, gtins, mpn, content_hash, text_hash, raw"
_OFFER = "price, currency, availability, inventory, valid_until, url"


def copy_and_insert(database: LiveDatabase, folder: Path) -> float:
    """Seconds to COPY the products and offers of a feed into unlogged tables and insert them into tables with the
    catalogue's columns and indexes: parsed, compressed and hashed before the clock starts."""
    shards = _parsed(folder)
    tables = StagingTables(uuid4())
    with database.transaction() as connection:
        tables.create(connection)
        connection.exec_driver_sql("CREATE TABLE bare_products (LIKE products INCLUDING ALL)")
        connection.exec_driver_sql("CREATE TABLE bare_offers (LIKE offers INCLUDING ALL)")
    began = time.perf_counter()
    for shard in shards:
        with database.transaction(durable=False) as connection:
            tables.write(connection, shard)
    with database.transaction() as connection:
        connection.exec_driver_sql(
            f"""
            INSERT INTO bare_products (organization_id, urn, {_PRODUCT})
            SELECT 1, urn, {_PRODUCT} FROM {tables.name("items")}
            """
        )
        connection.exec_driver_sql(
            f"""
            INSERT INTO bare_offers (product_id, ordinal, {_OFFER})
            SELECT shard * 1000000 + position, ordinal, {_OFFER} FROM {tables.name("offers")}
            """
        )
    seconds = time.perf_counter() - began
    with database.transaction() as connection:
        tables.drop(connection)
        connection.exec_driver_sql("DROP TABLE bare_products, bare_offers")
    return seconds


def _parsed(folder: Path) -> list[Batch]:
    """The rows of each shard."""
    registry = parse_registry((folder / "registry.json").read_bytes())
    context = registry.organizations[0].item_context()
    return [_batch(number, path, context) for number, path in enumerate(sorted(folder.glob("feed-*.json")))]


def _batch(shard: int, path: Path, context: ItemContext) -> Batch:
    batch = Batch.empty()
    compress = zstandard.ZstdCompressor(level=1).compress
    for position, raw in enumerate(read_shard(path.read_bytes()).items, 1):
        item = parse_item(raw, context).item  # type: ignore[union-attr]
        if isinstance(item, ProductItem):
            batch.items.append(
                (shard, position, PRODUCT, item.urn, item.content_hash, item.text_hash, item.sku, item.name,
                 item.description, item.url, item.image, item.brand_name, item.brand_urn, item.category,
                 item.group_urn, item.gtins, item.mpn, None, [], compress(raw))
            )  # fmt: skip
            batch.offers.extend(
                (shard, position, ordinal, offer.price, offer.currency, offer.availability, offer.inventory,
                 offer.valid_until, offer.url)
                for ordinal, offer in enumerate(item.offers, 1)
            )  # fmt: skip
    return batch


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
