"""What every search index promises: a product's text and vector go in, the products nearest to a query come out.

The catalogue is in the database, an index may be elsewhere. So putting products in has two halves: `send`, outside of
any transaction, and `acknowledge`, which writes in one that they are in. Between them a process may die: what is not
acknowledged is pending, and is sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from app.cmp.text import embedded_hash, search_text
from app.core.errors import DiscoveryNodeError
from app.db.session import Database


class IndexUnavailableError(DiscoveryNodeError):
    """An index that is elsewhere does not answer, or not now: the same may go well in a while."""


@dataclass(frozen=True)
class Outdated:
    """How far an organization's part of the index is behind: products to put in, and products to take out."""

    organization_id: int
    pending: int
    vanished: int


@dataclass(frozen=True)
class Block:
    """Pending products of an organization, by the first and the last of their ids."""

    organization_id: int
    first: int
    last: int


@dataclass(frozen=True)
class PendingProduct:
    """A product that is not, or no longer, in the index as it is in the catalogue.

    `twin` is a product in the index whose vector is of the same text: its own, when all but the text changed.
    """

    product_id: int
    text_hash: bytes
    name: str
    brand_name: str | None
    description: str | None
    facets: str
    twin: int | None = None

    @property
    def text(self) -> str:
        """What is embedded."""
        return search_text(self.name, self.brand_name, self.description)

    @property
    def embedded_hash(self) -> bytes:
        """Of that text."""
        return embedded_hash(self.text_hash)


@dataclass(frozen=True)
class Entry:
    """A product and the vector of its text, None when its twin's is to be taken."""

    product: PendingProduct
    vector: NDArray[np.float32] | None


@dataclass(frozen=True)
class SearchFilters:
    """What a product must be. One offer must pass all of price, currency and stock; without a currency, prices compare
    as numbers in any. A category is a path or any part of one, case aside, and what lies below it."""

    brand: str | None = None
    category: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    currency: str | None = None
    in_stock: bool = False
    organization: str | None = None


@dataclass(frozen=True)
class Condition:
    """Which products may be found: SQL about `p`, a row of `products`, with its parameters; and the filters that it was
    made of, for an index that cannot ask the catalogue."""

    sql: str = "p.deleted_at IS NULL"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    is_filter: bool = False
    filters: SearchFilters = SearchFilters()


@dataclass(frozen=True)
class Differences:
    """Product ids by what is wrong: not in the index, in it with another text or other facts than in the catalogue, in
    it although deleted or gone. `facts`: those of the stale ones whose facts are others, whatever the text."""

    missing: list[int]
    stale: list[int]
    surplus: list[int]
    facts: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.missing or self.stale or self.surplus)


Leg = dict[int, float]
"""Product ids with their scores, best first."""


@dataclass(frozen=True)
class Candidates:
    """Products by the query's vector; by its words, all of which they hold; and where these are few, those that hold a
    part of them."""

    dense: Leg
    text: Leg
    partial: Leg = field(default_factory=dict)


class Index(Protocol):
    """The index of one generation. What takes a connection runs in its transaction, for which the caller holds the
    generation; what takes none may go elsewhere and take its time."""

    @property
    def table(self) -> str:
        """Where the database keeps what is in the index, a row for each product with its `product_id`."""
        ...

    @property
    def is_in_database(self) -> bool:
        """Whether a row of the table is what is found, so that a product whose row is deleted is out of the index."""
        ...

    def create(self, connection: Connection) -> None: ...

    def discard(self) -> None:
        """Removes all that is elsewhere, for good. To be called before `drop`."""
        ...

    def drop(self, connection: Connection) -> None: ...

    def count(self, connection: Connection) -> int:
        """How many products are in the index."""
        ...

    def outdated(self, connection: Connection, organization_ids: Sequence[int] | None) -> list[Outdated]:
        """The organizations (None: of all) whose part is behind."""
        ...

    def lag(self, connection: Connection) -> tuple[int, float]:
        """How many products are pending, and how many seconds ago the oldest of them changed."""
        ...

    def blocks(self, connection: Connection, organization_ids: Sequence[int] | None, size: int) -> list[Block]:
        """What is pending of the organizations (None: of all), in blocks of `size` products."""
        ...

    def pending(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        """The first products of a block that are pending, by id. They are about to be sent: an index that is elsewhere
        notes it, so that whatever gets there is known of here."""
        ...

    def outdated_facts(self, connection: Connection, block: Block, limit: int) -> list[PendingProduct]:
        """The first products of a block, by id, that are pending and of which the index does not know what they are
        filtered by now; none when it asks the catalogue for that. They are about to be sent without a vector, and stay
        pending if their text is another too."""
        ...

    def release(self, connection: Connection, products: Sequence[PendingProduct]) -> None:
        """Writes down that of what `pending` gave these were not sent."""
        ...

    def resolve(self, products: Sequence[PendingProduct]) -> Sequence[PendingProduct]:
        """The same products, about to be embedded: an index that is elsewhere looks up there the vectors of twins, and
        leaves the twin out where it sees none."""
        ...

    def send(self, entries: Sequence[Entry]) -> None:
        """Puts products to where the index is, if that is not the database. When it returns they are there to stay."""
        ...

    def acknowledge(self, connection: Connection, entries: Sequence[Entry]) -> int:
        """Writes down that products are in the index; returns how many. One that changed meanwhile, or whose twin is
        gone, stays pending."""
        ...

    def vanished(self, connection: Connection, organization_ids: Sequence[int], limit: int) -> list[int]:
        """The first products in the index that are deleted or gone from the catalogue."""
        ...

    def erase(self, product_ids: Sequence[int]) -> None:
        """Takes products out where the index is, if that is not the database."""
        ...

    def forget(self, connection: Connection, product_ids: Sequence[int]) -> int:
        """Writes down that products are out of the index; returns how many. One that came back meanwhile is pending,
        or is still in."""
        ...

    def compare(self, database: Database) -> Differences:
        """Looks at all that is in the index, where it is."""
        ...

    def doubt(self, connection: Connection, differences: Differences) -> None:
        """Makes what differs pending, or vanished, so that the next vector step mends it."""
        ...

    def ensure_search_structures(self, connection: Connection) -> bool:
        """Builds what searching has come to need since the index grew; True when there was something to build."""
        ...

    def candidates(
        self, connection: Connection, query: str, vector: NDArray[np.float32] | None, condition: Condition, depth: int
    ) -> Candidates:
        """The best `depth` products by the query's vector, and by its words. The first ranking is shorter only when
        fewer products in the index pass the condition, and empty without a vector."""
        ...

    def count_phrases(self, connection: Connection, phrases: Sequence[str]) -> Mapping[str, int]:
        """How many products hold all words of each phrase, counted up to some number; empty when the index cannot
        tell."""
        ...

    def count_words(self, connection: Connection, words: Sequence[str]) -> Mapping[str, int]:
        """Those of many words that products hold, and roughly how many do; empty when the index cannot tell."""
        ...
