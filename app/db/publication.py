"""A publication as it comes to the merge, what the merge reports, and what may stop it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from psycopg.types.json import Jsonb

from app.cmp.feed import FeedIndex
from app.core.errors import DiscoveryNodeError
from app.db.staging import IssueRow, StagingTables

PRODUCT, GROUP, REJECTED = 1, 2, 0
PLACES = 20  # how many places a summed-up warning names
MIN_DELETIONS_HELD = 20
MAX_VANISHING_TOLD = 100  # how many of what a held publication would delete are named


class SeenDocument(msgspec.Struct, frozen=True):
    """A document as it was fetched last: the SHA-256 of its bytes, and what its source told of that version."""

    sha256: bytes
    validators: dict[str, str | int]


class Seen(msgspec.Struct, frozen=True):
    """What tells that nothing changed without fetching it again. `documents` by path, those whose version is known;
    `index` is what stands in the one of them that is the feed's index; `fingerprint` that of the publication when the
    versions of all its documents are known."""

    documents: dict[str, SeenDocument]
    fingerprint: bytes | None = None
    index: FeedIndex | None = None

    @classmethod
    def of(cls, stored: Any) -> "Seen | None":
        """What is stored in the row of a feed; None when it was stored by another version."""
        try:
            return None if stored is None else msgspec.convert(stored, cls)
        except msgspec.ValidationError:
            return None

    def as_json(self) -> Jsonb:
        return Jsonb(msgspec.to_builtins(self))


@dataclass(frozen=True)
class ShardCounts:
    """What a shard holds: everything listed, and how much of it was rejected."""

    items: int = 0
    products: int = 0
    product_groups: int = 0
    offers: int = 0
    products_rejected: int = 0
    product_groups_rejected: int = 0
    offers_rejected: int = 0


@dataclass(frozen=True)
class PublishedShard:
    """A shard at its place in the index; `staged` when it was read, else it is known to be as it was."""

    ordinal: int
    url: str
    bytes_hash: bytes
    staged: bool
    counts: ShardCounts


@dataclass(frozen=True)
class Publication:
    """A whole publication, read and staged, and the state of the catalogue it was read against."""

    organization_id: int
    feed_id: int
    revision: int
    context_hash: bytes
    fingerprint: bytes
    shards: list[PublishedShard]
    staging: StagingTables
    issues: list[IssueRow]
    seen: Seen | None = None
    full: bool = False
    deletions_accepted: bool = False
    max_delete_fraction: float = 0.2


@dataclass
class Verdicts:
    """What became of the items of one kind."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0


@dataclass
class MergeReport:
    """What became of a publication's items. `read` counts all that are listed, duplicates and rejected ones too."""

    product_groups: Verdicts = field(default_factory=Verdicts)
    products: Verdicts = field(default_factory=Verdicts)
    offers: Verdicts = field(default_factory=Verdicts)

    def complete(self, shards: list[ShardCounts], *, products: int, product_groups: int, offers: int) -> None:
        """Adds what the shards tell, and what stayed as it was of the rows that were live before."""
        before = {"products": products, "product_groups": product_groups, "offers": offers}
        for name, live in before.items():
            verdicts: Verdicts = getattr(self, name)
            verdicts.read = sum(getattr(shard, name) for shard in shards)
            verdicts.rejected = sum(getattr(shard, f"{name}_rejected") for shard in shards)
            verdicts.unchanged = live - verdicts.updated - verdicts.deleted


def are_too_many(vanishing: int, live: int, fraction: float) -> bool:
    """Whether so many deletions at once are more likely a mistake than meant."""
    return vanishing > MIN_DELETIONS_HELD and vanishing > fraction * live


class PublicationMovedError(DiscoveryNodeError):
    """Another merge came between reading and merging: read again."""


class StagingLostError(DiscoveryNodeError):
    """Staged rows are gone, as they are after a crash of PostgreSQL: stage `shards` again."""

    def __init__(self, shards: list[int]) -> None:
        super().__init__(f"{len(shards)} staged shards are not whole")
        self.shards = shards


class CategoriesLostError(DiscoveryNodeError):
    """Categories of winners were removed as empty after they had been ensured: ensure them again."""


class ContentNeededError(DiscoveryNodeError):
    """Items win a URN whose content is neither staged nor in the catalogue: read `positions` by shard ordinal."""

    def __init__(self, positions: dict[int, set[int]]) -> None:
        super().__init__(f"{sum(map(len, positions.values()))} more items have to be read")
        self.positions = positions


class Vanishing(NamedTuple):
    """A product that would go."""

    urn: str
    name: str


class DeletionsHeldError(DiscoveryNodeError):
    """More of an organization's products would vanish than is let through unasked; `first` are the first of them."""

    def __init__(self, vanishing: int, live: int, fraction: float, first: Sequence[Vanishing]) -> None:
        super().__init__(
            f"{vanishing} of {live} products would be deleted, more than the {fraction:.0%} that are let through",
            remedy="If that is meant, run `discovery-node ingest --accept-deletions`; else mend the feed.",
        )
        self.vanishing = vanishing
        self.live = live
        self.first = first

    def as_dict(self) -> dict[str, Any]:
        """What would go, as a run's report tells it."""
        return {"count": self.vanishing, "products": [product._asdict() for product in self.first]}
