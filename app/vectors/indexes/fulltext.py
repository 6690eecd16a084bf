"""Full text of the index in PostgreSQL: what of a product is searched, how matches are ranked, and what is known of
words. Statements are about a table `v` with a `tsv`."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, text

from app.vectors.ranking import COMMON, PART

# Name, brand and description rank; category and attributes only make a product hold a word.
TSV = """setweight(to_tsvector('english', p.name), 'A')
    || setweight(to_tsvector('english', coalesce(p.brand_name, '')), 'B')
    || setweight(to_tsvector('english', coalesce(p.description, '')), 'C')
    || setweight(to_tsvector('english', b.facets), 'D')"""

QUERY = "websearch_to_tsquery('english', :query)"
# What excludes only (`-red`) would match almost everything, and could use no index.
HAS_TERMS = f"querytree({QUERY}) NOT IN ('', 'T')"
RANK = f"ts_rank('{{1,1,1,1}}', ts_filter(v.tsv, '{{a,b,c}}'), {QUERY}, 1)"

_COUNTED = 100  # matches of a phrase, at most
_READ = 200  # products that hold one of many words, at most
_QUOTED = r"'''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || ''''"


def _common(table: str) -> str:
    """SQL for the lexemes that `COMMON` products hold, with about how many do: what PostgreSQL has gathered, so that
    nobody has to look at the many. None before it has."""
    return f"""
        SELECT held.lexeme, held.part * c.reltuples AS number
        FROM pg_class c JOIN pg_stats s ON s.tablename = c.relname AND s.attname = 'tsv'
        CROSS JOIN LATERAL unnest(CAST(CAST(s.most_common_elems AS text) AS text[]), s.most_common_elem_freqs)
            AS held (lexeme, part)
        WHERE c.oid = CAST('{table}' AS regclass) AND held.part * c.reltuples >= {COMMON}
        """  # noqa: S608 - this package's own fragments


def partial_matches(table: str, condition: str, distance: str) -> str:
    """SQL for products that hold at least `PART` of the query's words, the part as `score`, best first. The fewer
    products hold a word the more it counts; by those that `COMMON` hold nothing is found, which bounds the work."""
    return f"""
        WITH terms AS MATERIALIZED (
            SELECT lexeme, common.number
            FROM unnest(tsvector_to_array(to_tsvector('english', :query))) AS lexeme
            LEFT JOIN ({_common(table)}) AS common USING (lexeme)
        ),
        held AS MATERIALIZED (
            SELECT terms.lexeme, v.product_id FROM terms CROSS JOIN LATERAL (
                SELECT v.product_id FROM {table} v WHERE v.tsv @@ CAST({_QUOTED} AS tsquery) LIMIT {COMMON}
            ) v WHERE terms.number IS NULL
        ),
        counted AS MATERIALIZED (
            SELECT lexeme, coalesce(terms.number, count(product_id)) AS number
            FROM terms LEFT JOIN held USING (lexeme) GROUP BY lexeme, terms.number
        ),
        weighed AS MATERIALIZED (
            SELECT lexeme, number, ln(1 + (
                SELECT greatest(reltuples, {COMMON}) FROM pg_class WHERE oid = CAST('{table}' AS regclass)
            ) / (1 + number)) AS weight FROM counted
        ),
        parts AS MATERIALIZED (
            SELECT product_id, sum(weight) / (SELECT sum(weight) FROM weighed) AS score
            FROM held JOIN weighed USING (lexeme) WHERE number < {COMMON} GROUP BY product_id
        )
        SELECT parts.product_id AS found, parts.score
        FROM parts JOIN {table} v USING (product_id) JOIN products p ON p.id = parts.product_id
        WHERE parts.score >= {PART} AND (SELECT count(*) FROM terms) > 1 AND {condition}
        ORDER BY parts.score DESC, {distance}, parts.product_id LIMIT :depth
        """  # noqa: S608 - this package's own fragments


def count_phrases(connection: Connection, table: str, phrases: Sequence[str]) -> dict[str, int]:
    """How many products hold all words of each phrase, counted up to a hundred. Words that are not searched for, such
    as `the`, count as held."""
    rows = connection.execute(
        text(f"""
            WITH common AS MATERIALIZED ({_common(table)})
            SELECT phrase, CASE
                WHEN lexemes <@ (SELECT coalesce(array_agg(lexeme), '{{}}') FROM common) AND cardinality(lexemes) < 2
                THEN {_COUNTED} ELSE (
                    SELECT count(*) FROM (SELECT FROM {table} v WHERE v.tsv @@ query LIMIT {_COUNTED}) AS first
                ) END
            FROM unnest(CAST(:phrases AS text[])) AS phrase
            CROSS JOIN LATERAL plainto_tsquery('english', phrase) AS query
            CROSS JOIN LATERAL tsvector_to_array(to_tsvector('english', phrase)) AS lexemes
            """),  # noqa: S608 - the index's own table
        {"phrases": phrases},
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
            first AS MATERIALIZED (
                SELECT v.tsv FROM {table} v WHERE v.tsv @@ (
                    SELECT CAST(string_agg(DISTINCT {_QUOTED}, ' | ') AS tsquery) FROM words
                ) LIMIT {_READ}
            )
            SELECT word, number FROM words JOIN (
                SELECT lexeme, count(*) AS number FROM first CROSS JOIN LATERAL unnest(tsvector_to_array(tsv)) AS lexeme
                GROUP BY lexeme
            ) AS held USING (lexeme)
            """),  # noqa: S608 - the index's own table
        {"words": words},
    )
    return {row[0]: row[1] for row in rows}
