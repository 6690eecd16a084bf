"""Full text of the index in PostgreSQL: what of a product is searched, how matches are ranked, and what is known of
words. Statements are about a table `v` with a `tsv`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.vectors.ranking import COMMON, PART

# Name, brand and description rank; category and attributes only make a product hold a word.
TSV = """setweight(to_tsvector('english', p.name), 'A')
    || setweight(to_tsvector('english', coalesce(p.brand_name, '')), 'B')
    || setweight(to_tsvector('english', coalesce(p.description, '')), 'C')
    || setweight(to_tsvector('english', b.facets), 'D')"""

# Read once: a plan that is kept would read it for every row.
QUERY = "(SELECT websearch_to_tsquery('english', :query))"
# What excludes only (`-red`) would match almost everything, and could use no index.
HAS_TERMS = f"querytree({QUERY}) NOT IN ('', 'T')"
RANK = f"ts_rank('{{1,1,1,1}}', ts_filter(v.tsv, '{{a,b,c}}'), {QUERY}, 1)"

_COUNTED = 100  # matches of a phrase, at most
_READ = 200  # products that hold one of many words, at most
_QUOTED = r"'''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || ''''"


_KEPT = 60  # seconds
_GATHERED = """
    SELECT CAST(coalesce(array_agg(held.lexeme) FILTER (WHERE held.lexeme IS NOT NULL), '{}') AS text),
        CAST(coalesce(array_agg(held.part * c.reltuples) FILTER (WHERE held.lexeme IS NOT NULL), '{}') AS text),
        max(c.reltuples)
    FROM pg_class c LEFT JOIN LATERAL (
        SELECT each.* FROM pg_stats s CROSS JOIN LATERAL
            unnest(CAST(CAST(s.most_common_elems AS text) AS text[]), s.most_common_elem_freqs) AS each (lexeme, part)
        WHERE s.schemaname = CAST(CAST(c.relnamespace AS regnamespace) AS text) AND s.tablename = c.relname
            AND s.attname = 'tsv' AND each.part * c.reltuples >= :least
    ) AS held ON true
    WHERE c.oid = CAST(:table AS regclass)
    """


@dataclass(frozen=True)
class Common:
    """The lexemes that `COMMON` products hold, with about how many do, both as PostgreSQL writes arrays; and about how
    many products there are. Nothing before PostgreSQL has gathered it."""

    lexemes: str
    numbers: str
    products: float

    @property
    def parameters(self) -> dict[str, Any]:
        return {"common": self.lexemes, "common_numbers": self.numbers, "products": self.products}


def common(connection: Connection, table: str) -> Common:
    """What PostgreSQL has gathered, so that nobody has to look at the many. Asked once a minute and connection."""
    kept: dict[str, tuple[float, Common]] = connection.info.setdefault("common lexemes", {})
    if table not in kept or time.monotonic() - kept[table][0] > _KEPT:
        gathered = connection.execute(text(_GATHERED), {"table": table, "least": COMMON}).one()
        kept[table] = time.monotonic(), Common(*gathered)
    return kept[table][1]


def partial_terms(table: str) -> str:
    """SQL for table expressions, the last of them `parts`: products that hold a part of the query's words, as `score`.
    The fewer products hold a word the more it counts; by those that `COMMON` hold nothing is found, which bounds the
    work. Needs the parameters of `common`."""
    # Behind MATERIALIZED: for the sake of the limit, the planner would rather read the table than its index.
    return f"""
        terms AS MATERIALIZED (
            SELECT lexeme, common.number FROM unnest(tsvector_to_array(to_tsvector('english', :query))) AS lexeme
            LEFT JOIN unnest(CAST(:common AS text[]), CAST(:common_numbers AS float8[])) AS common (lexeme, number)
                USING (lexeme)
        ),
        held AS MATERIALIZED (
            SELECT terms.lexeme, v.product_id FROM terms CROSS JOIN LATERAL (
                WITH holding AS MATERIALIZED (
                    SELECT v.product_id FROM {table} v WHERE v.tsv @@ CAST({_QUOTED} AS tsquery)
                )
                SELECT product_id FROM holding LIMIT {COMMON}
            ) v WHERE terms.number IS NULL
        ),
        weighed AS MATERIALIZED (
            SELECT lexeme, number, ln(1 + greatest(CAST(:products AS float8), {COMMON}) / (1 + number)) AS weight FROM (
                SELECT lexeme, coalesce(terms.number, count(product_id)) AS number
                FROM terms LEFT JOIN held USING (lexeme) GROUP BY lexeme, terms.number
            ) AS counted
        ),
        parts AS MATERIALIZED (
            SELECT product_id, sum(weight) / (SELECT sum(weight) FROM weighed) AS score
            FROM held JOIN weighed USING (lexeme) WHERE number < {COMMON} GROUP BY product_id
        )"""  # noqa: S608 - this package's own fragments


def partial_leg(table: str, condition: str, distance: str, depth: int) -> str:
    """SQL for the best of `parts` that pass, if the query has more words than one: at least `PART` of them."""
    return f"""
        SELECT 'partial' AS leg, parts.product_id AS found, parts.score
        FROM parts JOIN {table} v USING (product_id) JOIN products p ON p.id = parts.product_id
        WHERE parts.score >= {PART} AND (SELECT count(*) FROM terms) > 1 AND {condition}
        ORDER BY parts.score DESC, {distance}, parts.product_id LIMIT {depth}
        """  # noqa: S608 - this package's own fragments


def count_phrases(connection: Connection, table: str, phrases: Sequence[str]) -> dict[str, int]:
    """How many products hold all words of each phrase, counted up to a hundred. Words that are not searched for, such
    as `the`, count as held."""
    rows = connection.execute(
        text(f"""
            SELECT phrase, CASE WHEN lexemes <@ CAST(:common AS text[]) AND cardinality(lexemes) < 2 THEN {_COUNTED}
                ELSE (
                    WITH holding AS MATERIALIZED (SELECT FROM {table} v WHERE v.tsv @@ query)
                    SELECT count(*) FROM (SELECT FROM holding LIMIT {_COUNTED}) AS first
                ) END
            FROM unnest(CAST(:phrases AS text[])) AS phrase
            CROSS JOIN LATERAL plainto_tsquery('english', phrase) AS query
            CROSS JOIN LATERAL tsvector_to_array(to_tsvector('english', phrase)) AS lexemes
            """),  # noqa: S608 - the index's own table
        {"phrases": phrases, "common": common(connection, table).lexemes},
    )
    return {row[0]: row[1] for row in rows}


def count_words(connection: Connection, table: str, words: Sequence[str]) -> Mapping[str, int]:
    """Of many words those that products hold, with how many of the first two hundred that hold any. One look."""
    rows = connection.execute(
        text(f"""
            WITH words AS MATERIALIZED (
                SELECT word, lexeme FROM unnest(CAST(:words AS text[])) AS word
                CROSS JOIN LATERAL unnest(tsvector_to_array(to_tsvector('english', word))) AS lexeme
            ),
            holding AS MATERIALIZED (
                SELECT v.tsv FROM {table} v WHERE v.tsv @@ (
                    SELECT CAST(string_agg(DISTINCT {_QUOTED}, ' | ') AS tsquery) FROM words
                )
            ),
            first AS MATERIALIZED (SELECT tsv FROM holding LIMIT {_READ})
            SELECT word, number FROM words JOIN (
                SELECT lexeme, count(*) AS number FROM first CROSS JOIN LATERAL unnest(tsvector_to_array(tsv)) AS lexeme
                GROUP BY lexeme
            ) AS held USING (lexeme)
            """),  # noqa: S608 - the index's own table
        {"words": words},
    )
    return {row[0]: row[1] for row in rows}
