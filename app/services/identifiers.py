"""Products by what is printed on them: a SKU, an MPN or a GTIN in a query, however it is spelled there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, text

from app.services.scope import Scope

MAX_TOKENS = 20
"""Of a longer query the first are looked at."""

_SPAN = 4  # tokens that make one identifier, at most
_MIN_KEY = 5  # characters of one that stands among other words
_MIN_DIGITS = 6  # of one that is all digits
_GTIN_LENGTHS = (8, 12, 13, 14)
_MIN_GTIN = 11  # digits of one among other words: of UPC-A without its zero

_GAPS = " -_./"
_FOLDED = str.maketrans({**{chr(each): chr(each + 32) for each in range(65, 91)}, **dict.fromkeys(_GAPS)})
# As the indexes are defined: bytes, so that they serve whatever the database's language.
_KEY = "translate(lower(p.{} COLLATE \"C\"), ' -_./', '')"


@dataclass(frozen=True)
class Identified:
    """A product, with the identifier of its that the query holds."""

    product: int
    identifier: str
    length: int


def identified(connection: Connection, scope: Scope, query: str, limit: int) -> list[Identified]:
    """Products whose SKU, GTIN or MPN is the query or stands in it, the longest match first."""
    keys, gtins = keys_in(query), gtins_in(query)
    if not keys and not gtins:
        return []
    # Gathered first, and then filtered one by one: the planner takes them for many, and would rather look through all
    # products for the sake of the order, or through all offers for that of the filters.
    statement = f"""
        WITH bearing AS MATERIALIZED (
            SELECT p.id FROM products p
            WHERE ({_KEY.format("sku")} = ANY(CAST(:keys AS text[]))
                OR {_KEY.format("mpn")} = ANY(CAST(:keys AS text[]))
                OR p.gtins && CAST(:gtins AS text[])) AND p.deleted_at IS NULL
        )
        SELECT passing.* FROM bearing CROSS JOIN LATERAL (
            SELECT p.id, p.sku, p.mpn, p.gtins FROM products p WHERE p.id = bearing.id AND {scope.products} OFFSET 0
        ) passing ORDER BY passing.id LIMIT :limit
        """  # noqa: S608 - this package's own fragments
    parameters = {**scope.parameters, "keys": keys, "gtins": gtins, "limit": limit}
    found = [_identified(row, keys, gtins) for row in connection.execute(text(statement), parameters)]
    return sorted(found, key=lambda each: -each.length)


def _identified(
    row: Row[tuple[int, str | None, str | None, list[str]]], keys: Sequence[str], gtins: Sequence[str]
) -> Identified:
    matching = [each for each in (row.sku, row.mpn) if each is not None and fold(each) in keys]
    matching += [each for each in row.gtins if each in gtins]
    best = max(matching, key=lambda each: len(fold(each)))
    return Identified(row.id, best, len(fold(best)))


def fold(identifier: str) -> str:
    """The identifier without gaps and ASCII case."""
    return identifier.translate(_FOLDED)


def keys_in(query: str) -> list[str]:
    """What a SKU or MPN in the query may be, folded: all of it, but words without a digit, and
    its parts that look like one."""
    parts = (fold("".join(part)) for part in _parts(query.split()[:MAX_TOKENS]))
    whole = fold(query)
    is_one = bool(whole) and (" " not in query or re.search(r"\d", whole) is not None)
    return list(dict.fromkeys([*([whole] if is_one else []), *(part for part in parts if _looks_like_one(part))]))


def gtins_in(query: str) -> list[str]:
    """The ways to write the GTINs that are the query, or stand in it."""
    words = [word for word in query.split()[:MAX_TOKENS] if len(word.replace("-", "")) >= _MIN_GTIN]
    return list(dict.fromkeys(spelling for each in (query, *words) for spelling in gtin_spellings(each)))


def gtin_spellings(query: str) -> list[str]:
    """The ways to write the GTIN that the query is, with fewer and more leading zeros; none when it is no GTIN."""
    digits = query.replace(" ", "").replace("-", "")
    significant = digits.lstrip("0")
    if not (digits.isascii() and digits.isdigit() and len(significant) <= max(_GTIN_LENGTHS)):
        return []
    return [significant.zfill(length) for length in _GTIN_LENGTHS if len(significant) <= length]


def _parts(tokens: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbouring tokens, up to four."""
    for first in range(len(tokens)):
        for last in range(first + 1, min(first + _SPAN, len(tokens)) + 1):
            yield tokens[first:last]


def _looks_like_one(key: str) -> bool:
    """Letters and digits, or many digits: else any word could be meant as such."""
    if re.fullmatch(r"\d+", key):
        return len(key) >= _MIN_DIGITS
    return len(key) >= _MIN_KEY and re.search(r"\d", key) is not None
