"""Every limit this package enforces. What passes them cannot fail a COPY, a merge or an index in PostgreSQL.

B-tree entries may take 2.7 kB, tsvectors 1 MB, and text may hold neither NUL nor lone surrogates. Limits on
columns that carry a b-tree index are therefore in UTF-8 bytes, all others in characters.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

# --- documents -----------------------------------------------------------------------------------------------

MAX_ITEM_BYTES = 16 * 1024 * 1024
"""One item of a shard, and one string anywhere in it. Longer ones fail the shard."""

MAX_NESTING = 512
"""Depth of arrays and objects. Deeper documents may exhaust the interpreter's stack and are refused."""

MAX_SHARDS = 10_000
"""Shards of a feed."""

MAX_ITEMS = 1_000_000
"""Items of a shard."""


@dataclass(frozen=True)
class DocumentLimits:
    """How much a node takes of a document. What exceeds it fails the document, or the item that is nested too deep.
    `item_bytes` is for a string anywhere too."""

    shards: int = MAX_SHARDS
    items: int = MAX_ITEMS
    item_bytes: int = MAX_ITEM_BYTES
    nesting: int = MAX_NESTING


DEFAULT_LIMITS = DocumentLimits()

MAX_LENIENT_REPAIR_BYTES = 64 * 1024 * 1024
"""Up to this size a document that is almost JSON (bare NaN, raw control characters) is repaired in memory."""

MAX_INDEX_BYTES = 64 * 1024 * 1024
"""A longer document is taken for a shard without looking for an index in it."""

MAX_ITEM_VALUES = 500_000
"""Values in one item: a decoded value takes up to thirty times its bytes."""

# --- identity: b-tree indexed, in bytes ----------------------------------------------------------------------

MAX_URN_BYTES = 1024
"""URNs of organizations, brands, groups and products. Never cut: a longer one is refused."""

MAX_SKU_BYTES = 512
MAX_GROUP_ID_BYTES = 512
MAX_BRAND_NAME_BYTES = 512
MAX_ORGANIZATION_NAME_BYTES = 512

MAX_CATEGORY_BYTES = 1024
"""A whole path; a longer one loses its deepest parts."""

MAX_CATEGORY_DEPTH = 32
"""Each part of a path becomes a row."""

MAX_SLUG_BYTES = 128
MAX_SLUGS = 256
"""Category slugs of one organization."""

# --- text, in characters -------------------------------------------------------------------------------------

MAX_NAME = 1024
MAX_DESCRIPTION = 64 * 1024
"""At four bytes a character still a quarter of what a tsvector holds."""

MAX_ATTRIBUTES = 4096
"""Of the words of all attributes together."""

MAX_URL = 2048
MAX_MPN = 256
MAX_VARIES_BY = 256
MAX_TEXT = 256
"""Short fields without a limit of their own: versions, dates as text."""

MAX_CACHED = 256
"""Only texts up to this length are remembered between items."""

# --- counts --------------------------------------------------------------------------------------------------

MAX_OFFERS = 100
MAX_GTINS = 20
MAX_VARIES_BY_COUNT = 100
MAX_BRANDS = 1000
"""Brands of one organization."""

MAX_SAME_AS = 100

# --- numbers and dates ---------------------------------------------------------------------------------------

PRICE_SCALE = 6
MAX_PRICE = Decimal("99999999999999.999999")
"""numeric(20, 6): fourteen digits before the point, six after."""

MAX_NUMBER_CHARS = 64
"""Longer texts are no price and no stock level."""

MAX_INVENTORY = 2**31 - 1
MIN_DATE = datetime(1970, 1, 1, tzinfo=UTC)
MAX_DATE = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

# --- issues --------------------------------------------------------------------------------------------------

MAX_ISSUE_VALUE = 200
MAX_ISSUE_MESSAGE = 500
MAX_PLACES = 20
"""Places listed one by one for the same finding; more are counted."""
