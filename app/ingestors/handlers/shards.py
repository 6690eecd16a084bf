"""One shard into staging: only what differs from what was merged last is decoded and copied."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field

import msgspec
import zstandard
from psycopg.types.json import Jsonb
from sqlalchemy import Connection

from app.cmp.feed import Shard
from app.cmp.issues import Issue, Severity
from app.cmp.items import ItemContext, parse_item
from app.cmp.models import GroupItem, ParsedItem, ProductItem, RejectedItem
from app.db.publication import GROUP, PLACES, PRODUCT, REJECTED, ShardCounts
from app.db.staging import Batch, IssueRow, ItemRow, Marker, StagingTables
from app.services.feeds import KnownItem, known_items

WINDOW = 2000  # items held in memory at a time
MAX_ERRORS = 10_000  # of one shard that are told one by one
_HASH_BYTES = 16


@dataclass
class _Summed:
    """Findings of one code in one shard, summed up."""

    first: Issue
    count: int = 0
    places: list[dict[str, object]] = field(default_factory=list)


class ShardStager:
    """Reads one shard against what is known of it. `known_id` is its id in the catalogue when its items may be taken
    over unread; items at `forced` positions are read anyway."""

    def __init__(
        self, ordinal: int, url: str, context: ItemContext, known_id: int | None, forced: Collection[int]
    ) -> None:
        self._ordinal = ordinal
        self._url = url
        self._context = context
        self._known_id = known_id
        self._forced = forced
        self._summed: dict[str, _Summed] = {}
        self._errors = 0
        self._batch = Batch.empty()
        self._compress = zstandard.ZstdCompressor(level=1).compress  # not to be shared between threads
        self._products = self._groups = self._offers = self._rejected = self._offers_rejected = 0

    def stage(
        self, connection: Connection, tables: StagingTables, shard: Shard, bytes_hash: bytes,
        note: Callable[[int, int], None],
    ) -> ShardCounts:  # fmt: skip
        """Stages the shard and its marker in the caller's transaction; returns what the whole shard holds. `note` is
        told how many items are done, of how many."""
        rows = (0, 0, 0)
        for issue in shard.issues:
            self._note(issue, issue.position)
        for start in range(0, len(shard.items), WINDOW):
            items = shard.items[start : start + WINDOW]
            self._read(items, start + 1, self._known(connection, start + 1, start + len(items)))
            batch = self._batch
            tables.write(connection, batch)
            rows = (rows[0] + len(batch.items), rows[1] + len(batch.offers), rows[2] + len(batch.occurrences))
            self._batch = Batch.empty()
            note(start + len(items), len(shard.items))
        self._batch.issues.extend(self._summaries())
        tables.write(connection, self._batch)
        counts = ShardCounts(
            items=len(shard.items),
            products=self._products,
            product_groups=self._groups,
            offers=self._offers,
            products_rejected=self._rejected,
            offers_rejected=self._offers_rejected,
        )
        tables.mark(connection, self._ordinal, Marker(bytes_hash, rows, asdict(counts)))
        return counts

    def _known(self, connection: Connection, first: int, last: int) -> list[KnownItem]:
        return [] if self._known_id is None else known_items(connection, self._known_id, first, last)

    def _read(self, items: list[msgspec.Raw], first: int, known: list[KnownItem]) -> None:
        # A rejected item is read again: its issues are told in full, from the item.
        by_position = {item.position: item for item in known if item.kind != REJECTED}
        by_hash = {item.item_hash: item for item in by_position.values()}
        for position, raw in enumerate(items, first):
            item_hash = hashlib.sha256(raw).digest()[:_HASH_BYTES]
            item = by_position.get(position)
            unmoved = item is not None and item.item_hash == item_hash
            if not unmoved:
                item = by_hash.get(item_hash)
            if item is None or position in self._forced:
                self._decode(position, raw, item_hash)
            else:
                self._take_over(position, item, unmoved=unmoved)

    def _take_over(self, position: int, item: KnownItem, *, unmoved: bool) -> None:
        """Counts an item that is as it was, and stages its occurrence if it stands elsewhere now."""
        self._count(item.kind, item.offers, item.offers_rejected)
        for issue in item.issues or ():
            self._note(msgspec.convert(issue, Issue), position)
        if not unmoved:
            issues = Jsonb(item.issues) if item.issues else None
            self._batch.occurrences.append(
                (self._ordinal, position, item.kind, item.urn, item.item_hash, item.content_hash, item.offers,
                 item.offers_rejected, issues, False, None, None, None, None)
            )  # fmt: skip

    def _decode(self, position: int, raw: msgspec.Raw, item_hash: bytes) -> None:
        parsed = parse_item(raw, self._context)
        for issue in parsed.issues:
            self._note(issue, position)
        if isinstance(parsed, RejectedItem):
            self._products += 1
            self._rejected += 1
            self._batch.occurrences.append(
                (self._ordinal, position, REJECTED, None, item_hash, None, 0, 0, None, False, None, None, None, None)
            )
            return
        item = parsed.item
        offers, offers_rejected, group_urn = 0, 0, None
        if isinstance(item, ProductItem):
            kind, group_urn = PRODUCT, item.group_urn
            offers, offers_rejected = item.offers_read, item.offers_rejected
            self._batch.items.append(_product_row(self._ordinal, position, item, self._compress(raw)))
            self._batch.offers.extend(
                (self._ordinal, position, ordinal, offer.price, offer.currency, offer.availability, offer.inventory,
                 offer.valid_until, offer.url)
                for ordinal, offer in enumerate(item.offers, 1)
            )  # fmt: skip
        else:
            kind = GROUP
            self._batch.items.append(_group_row(self._ordinal, position, item, self._compress(raw)))
        self._count(kind, offers, offers_rejected)
        self._batch.occurrences.append(
            (self._ordinal, position, kind, item.urn, item_hash, item.content_hash, offers, offers_rejected,
             _own_issues(parsed), True, item.brand_urn, item.brand_name, item.category, group_urn)
        )  # fmt: skip

    def _count(self, kind: int, offers: int, offers_rejected: int) -> None:
        if kind == PRODUCT:
            self._products += 1
        else:
            self._groups += 1
        self._offers += offers
        self._offers_rejected += offers_rejected

    def _note(self, issue: Issue, position: int | None) -> None:
        """Errors are kept one by one, as long as they are not so many that they would fill the disk; warnings, and
        errors beyond that, are summed up by code with their first places."""
        if issue.severity is Severity.ERROR and self._errors < MAX_ERRORS:
            self._errors += 1
            self._batch.issues.append(
                (self._url, issue.severity, issue.code, position, issue.path, issue.message, issue.value, 1, Jsonb([]))
            )
            return
        summed = self._summed.get(issue.code)
        if summed is None:
            summed = self._summed[issue.code] = _Summed(msgspec.structs.replace(issue, position=position))
        summed.count += 1
        if len(summed.places) < PLACES:
            summed.places.append({"position": position, "path": issue.path, "value": issue.value})

    def _summaries(self) -> Iterator[IssueRow]:
        for code, summed in self._summed.items():
            first = summed.first
            yield (
                self._url, first.severity, code, first.position, first.path, first.message, first.value,
                summed.count, Jsonb(summed.places),
            )  # fmt: skip


def _product_row(shard: int, position: int, item: ProductItem, raw: bytes) -> ItemRow:
    return (
        shard, position, item.text_hash, item.sku, item.name, item.description, item.url, item.image,
        item.brand_name, item.gtins, item.mpn, None, [], raw,
    )  # fmt: skip


def _group_row(shard: int, position: int, item: GroupItem, raw: bytes) -> ItemRow:
    return (
        shard, position, None, None, item.name, item.description, item.url, item.image, item.brand_name, [], None,
        item.group_id, item.varies_by, raw,
    )  # fmt: skip


def _own_issues(parsed: ParsedItem) -> Jsonb | None:
    """An item's own findings, to be told again while it is taken over unread."""
    if not parsed.issues:
        return None
    return Jsonb([
        {"code": issue.code, "message": issue.message, "path": issue.path, "value": issue.value}
        for issue in parsed.issues
    ])  # fmt: skip
