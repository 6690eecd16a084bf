"""The linter behind `validate`: what an ingestion would find in a registry or a feed. Nothing is stored.

A feed may be larger than memory: its items are read one by one, and what must be compared across shards is kept in an
unnamed SQLite file.
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from app.cmp.documents import Buffer
from app.cmp.feed import FeedIndex, MalformedDocumentError, Shard, ShardRef, parse_index, read_shard
from app.cmp.issues import CODES, Issue, Severity
from app.cmp.items import ItemContext, ParsedItem, ProductItem, RejectedItem, parse_item
from app.cmp.kinds import kind_of
from app.cmp.registry import Registry, parse_registry
from app.core.config import Settings
from app.ingestors.base import SourceError, UnreachableError
from app.ingestors.handlers.reading import unfetched
from app.ingestors.progress import NoProgress, Progress
from app.ingestors.sources.base import Document, Limits
from app.ingestors.sources.factory import SourceConfig, SourceFactory
from app.net.urls import shown

MAX_ERRORS = 10_000
MAX_PER_WARNING = 1_000
"""How many findings are listed: beyond that they are counted."""

DocumentKind = Literal["registry", "feed", "shard", "unknown"]

_SAMPLE = 20  # items that tell a registry from a shard
_BATCH = 2000
_SOURCES = {"http": "remote", "https": "remote", "ftp": "ftp", "ftps": "ftp", "s3": "s3", "file": "local"}


@dataclass
class Counts:
    """What there is: `rejected` entries and items are not among the others, nor are `offers_rejected` among offers.
    `unlisted` findings are counted, not told."""

    shards: int = 0
    organizations: int = 0
    products: int = 0
    product_groups: int = 0
    offers: int = 0
    rejected: int = 0
    offers_rejected: int = 0
    errors: int = 0
    warnings: int = 0
    unlisted: int = 0


@dataclass
class ValidationReport:
    """Findings, errors first, else in the order they stand; `totals` counts by code those that are not listed too."""

    kind: DocumentKind = "unknown"
    counts: Counts = field(default_factory=Counts)
    issues: list[Issue] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)

    @property
    def valid(self) -> bool:
        return self.counts.errors == 0

    def add(self, issue: Issue) -> None:
        self.totals[issue.code] += 1
        is_error = issue.severity is Severity.ERROR
        self.counts.errors += is_error
        self.counts.warnings += not is_error
        if self.counts.errors <= MAX_ERRORS if is_error else self.totals[issue.code] <= MAX_PER_WARNING:
            self.issues.append(issue)
        else:
            self.counts.unlisted += 1

    def as_dict(self) -> dict[str, Any]:
        return {"valid": self.valid, "counts": asdict(self.counts), "issues": [_as_dict(each) for each in self.issues]}


def validate(path: str, progress: Progress | None = None, settings: Settings | None = None) -> ValidationReport:
    """Lints the registry, feed index (with its shards) or shard at `path`, a file or a URL, told apart by content.
    Raises `SourceError` when there is no such document."""
    validation = _Validation(path, progress or NoProgress(), settings)
    with validation.source.open(path) as document, closing(validation.places):
        validation.run(document)
    report = validation.report
    report.issues.sort(key=lambda issue: issue.severity)
    return report


def validate_content(content: bytes, settings: Settings) -> ValidationReport:
    """Lints a document that was sent, by itself: the shards that an index lists are not looked at."""
    name = "the document"
    validation = _Validation(name, NoProgress(), settings, alone=True)
    document = Document(name, content, hashlib.sha256(content).digest(), limits=Limits.of(settings))
    with document, closing(validation.places):
        validation.run(document)
    report = validation.report
    report.issues.sort(key=lambda issue: issue.severity)
    return report


class _Validation:
    """One document and all that it leads to, unless it is looked at alone."""

    def __init__(self, path: str, progress: Progress, settings: Settings | None, *, alone: bool = False) -> None:
        source_type = _source_type(path)
        self._is_remote = source_type != "local"
        self.source = SourceFactory.create(source_type, SourceConfig(settings=settings))
        self._alone = alone
        self.places = _Places()
        self.report = ValidationReport()
        self._path = path
        self._name = Path(shown(path).removesuffix("?…")).name
        self._progress = progress

    def run(self, document: Document) -> None:
        content: Buffer = b""
        try:
            content = document.content()
            self._lint(content)
        except SourceError as error:
            self.report.add(Issue("shard-unreadable", str(error), shard=self._name))
        except MalformedDocumentError as error:
            code = _guess(bytes(memoryview(content)[:65536]))
            shard = self._name if code == "shard-unreadable" else None
            self.report.add(Issue(code, f"{self._name}: {error}", shard=shard))

    def _lint(self, content: Buffer) -> None:
        try:
            index = parse_index(content)
        except MalformedDocumentError as error:
            registry = _registry_or_none(content)
            if registry is None:
                raise MalformedDocumentError(error.reason, error.offset) from error
            self._lint_registry(registry)
            return
        if index is not None:
            self._lint_feed(index)
            return
        shard = read_shard(content)
        if _is_registry(shard):
            self._lint_registry(parse_registry(content))
        else:
            self._lint_single(shard)

    def _lint_registry(self, registry: Registry) -> None:
        self.report.kind = "registry"
        entries = registry.organizations
        self.report.counts.organizations = len(entries)
        self.report.counts.rejected = sum(issue.severity is Severity.ERROR for issue in registry.issues)
        found = [*registry.issues, *(issue for entry in entries for issue in entry.issues)]
        for issue in sorted(found, key=lambda issue: issue.position or 0):
            self.report.add(issue)

    def _lint_single(self, shard: Shard) -> None:
        self.report.kind = "shard"
        self.report.counts.shards = 1
        self.report.add(Issue("feed-is-shard", "The feed is a list of items without an index."))
        self._lint_items(shard, self._name, _AnyOrganization(""))
        self._progress.staging(1, 1)
        self._compare("this shard")

    def _lint_feed(self, index: FeedIndex) -> None:
        self.report.kind = "feed"
        self.report.counts.shards = len(index.shards)
        for issue in index.issues:
            self.report.add(issue)
        if self._alone:
            return
        urn = index.organization_urn
        context = _AnyOrganization("") if urn is None else ItemContext.of(urn)
        for number, ref in enumerate(index.shards, 1):
            self._lint_shard(ref.url, context)
            self._progress.staging(number, len(index.shards))
        self._compare("the feed")

    def _lint_shard(self, url: str, context: ItemContext) -> None:
        try:
            path = self.source.resolve(self._path, self._local_name(url))
            with self.source.open(path) as document:
                self._lint_document(document, url, context)
        except SourceError as error:
            self.report.add(unfetched(ShardRef(url), error))

    def _lint_document(self, document: Document, url: str, context: ItemContext) -> None:
        """A shard. Here the error ends, because it holds on to the document's bytes."""
        try:
            self._lint_items(read_shard(document.content()), url, context)
        except MalformedDocumentError as error:
            self.report.add(Issue("shard-unreadable", f"{url}: {error}", shard=url))

    def _local_name(self, url: str) -> str:
        """The file beside the index that is, or will be, published at a URL: that of the longest path they share."""
        parts = urlsplit(url) if "://" in url and not self._is_remote else None
        if parts is None or parts.scheme == "file":
            return url
        names = unquote(parts.path).strip("/").split("/")
        folder = Path(self._path).parent
        for start in range(len(names)):
            name = "/".join(names[start:])
            if name and (folder / name).is_file():
                return name
        raise UnreachableError("no copy of it lies beside the index", remedy="Put one there.")

    def _lint_items(self, shard: Shard, name: str, context: ItemContext) -> None:
        for issue in shard.issues:
            self.report.add(msgspec.structs.replace(issue, shard=name))
        for start in range(0, len(shard.items), _BATCH):
            items = shard.items[start : start + _BATCH]
            self.places.add(
                (*place, name, position)
                for position, raw in enumerate(items, start + 1)
                if (place := self._lint_item(parse_item(raw, context), name, position))
            )

    def _lint_item(self, parsed: ParsedItem | RejectedItem, shard: str, position: int) -> "_Place | None":
        """Tells what is wrong with an item and counts it; what others are compared with is returned."""
        counts = self.report.counts
        for issue in parsed.issues:
            self.report.add(issue.at(position, shard))
        if isinstance(parsed, RejectedItem):
            counts.rejected += 1
            return None
        item = parsed.item
        if isinstance(item, ProductItem):
            counts.products += 1
            counts.offers += len(item.offers)
            counts.offers_rejected += item.offers_rejected
            return parsed.kind, item.urn, item.sku, item.group_urn
        counts.product_groups += 1
        return parsed.kind, item.urn, None, None

    def _compare(self, whole: str) -> None:
        for issue in self.places.duplicate_urns():
            self.report.add(issue)
        for issue in self.places.duplicate_skus():
            self.report.add(issue)
        for issue in self.places.missing_groups(whole):
            self.report.add(issue)


_Place = tuple[str, str, str | None, str | None]
"""Kind, URN, SKU and group of an item."""


class _Places:
    """Where each item stands, in feed order. Of those with the same URN the last one counts, as in the merge."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
            CREATE TABLE items (kind TEXT, urn TEXT, sku TEXT, group_urn TEXT, shard TEXT, position INT);
            """
        )

    def add(self, rows: Iterator[tuple[str, str, str | None, str | None, str, int]]) -> None:
        self._database.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._database.close()

    def duplicate_urns(self) -> Iterator[Issue]:
        """One for each item that a later one supersedes."""
        self._database.executescript(
            """
            CREATE INDEX items_urn ON items (kind, urn);
            CREATE TABLE repeated AS
                SELECT kind, urn, max(rowid) AS winner FROM items GROUP BY kind, urn HAVING count(*) > 1;
            CREATE TABLE superseded AS
                SELECT o.rowid AS id, r.winner FROM repeated r JOIN items o ON o.kind = r.kind AND o.urn = r.urn
                WHERE o.rowid <> r.winner;
            """
        )
        rows = self._database.execute(
            """
            SELECT o.urn, o.shard, o.position, w.shard, w.position
            FROM superseded s JOIN items o ON o.rowid = s.id JOIN items w ON w.rowid = s.winner ORDER BY o.rowid
            """
        )
        for urn, shard, position, winner_shard, winner_position in rows:
            message = (
                f"{urn} stands in {shard} at {position} and again in {winner_shard} at {winner_position}: "
                "the last one counts"
            )
            yield Issue("duplicate-urn", message, "@id", urn, position, shard)
        self._database.executescript("DELETE FROM items WHERE rowid IN (SELECT id FROM superseded)")

    def duplicate_skus(self) -> Iterator[Issue]:
        """One for each SKU of several products. To be asked for after `duplicate_urns`."""
        rows = self._database.execute(
            """
            SELECT sku, urn, shard, position FROM items
            WHERE kind = 'product' AND sku IN (
                SELECT sku FROM items WHERE kind = 'product' AND sku IS NOT NULL GROUP BY sku HAVING count(*) > 1)
            ORDER BY sku, urn
            """
        )
        for sku, products in groupby(rows, key=lambda row: row[0]):
            (_, first, _, _), (_, second, shard, position) = islice(products, 2)
            message = f"SKU {sku} is that of {first} and of {second}: both are kept"
            yield Issue("duplicate-sku", message, "sku", sku, position, shard)

    def missing_groups(self, whole: str) -> Iterator[Issue]:
        """One for each group that variants name and nothing defines. To be asked for after `duplicate_urns`."""
        rows = self._database.execute(
            """
            SELECT group_urn, shard, position, min(rowid) AS first FROM items
            WHERE group_urn IS NOT NULL AND group_urn NOT IN (SELECT urn FROM items WHERE kind = 'group')
            GROUP BY group_urn ORDER BY first
            """
        )
        for urn, shard, position, _ in rows:
            yield Issue(
                "group-missing", f"{urn} has variants and is not in {whole}", "isVariantOf", urn, position, shard
            )


def _source_type(path: str) -> str:
    """The source for a file or a URL. Raises `SourceError`."""
    scheme, separator, _ = path.partition("://")
    if not separator:
        return "local"
    try:
        return _SOURCES[scheme.lower()]
    except KeyError:
        raise SourceError(
            f"{shown(path)} has the scheme {scheme[:20]!r}", remedy=f"Give a file, or a URL of {', '.join(_SOURCES)}."
        ) from None


class _AnyOrganization(ItemContext):
    """For items whose publisher nothing names: no URN is another organization's."""

    def is_foreign(self, urn: str) -> bool:
        return False


class _Typed(msgspec.Struct):
    kind: object = msgspec.field(name="@type", default=None)


_TYPED = msgspec.json.Decoder(_Typed)


def _is_registry(shard: Shard) -> bool:
    """Whether the first entries of a list are organizations."""
    sample = shard.items[:_SAMPLE]
    if any(_is_item(raw) for raw in sample):
        return False
    return _registry_or_none(b"[" + b",".join(bytes(raw) for raw in sample) + b"]") is not None


def _is_item(raw: msgspec.Raw) -> bool:
    try:
        return kind_of(_TYPED.decode(raw).kind) is not None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _registry_or_none(data: Buffer) -> Registry | None:
    try:
        registry = parse_registry(data)
    except MalformedDocumentError:
        return None
    return registry if registry.organizations or registry.issues or registry.skipped else None


def _guess(head: bytes) -> str:
    """Which of the unreadable documents this was meant to be, by its first bytes."""
    if b"ProductFeedIndex" in head or b'"shards"' in head:
        return "index-unreadable"
    if b"Organization" in head and b"ItemList" not in head and b'"Product' not in head:
        return "registry-unreadable"
    return "shard-unreadable"


def _as_dict(issue: Issue) -> dict[str, Any]:
    return {
        "severity": issue.severity,
        "code": issue.code,
        "shard": issue.shard,
        "position": issue.position,
        "path": issue.path,
        "message": issue.message,
        "value": issue.value,
        "hint": CODES[issue.code].remedy,
    }
