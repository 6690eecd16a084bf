"""Names are folded for Pinecone at least as far as any database does."""

import pytest
from sqlalchemy import text

from app.db.session import LiveDatabase
from app.vectors.indexes.pinecone.metadata import ANY, fold


def test_what_a_database_takes_for_the_same_letter_is_the_same(shared_database: LiveDatabase) -> None:
    with shared_database.transaction() as connection:
        collations = connection.execute(
            text("SELECT collname FROM pg_collation WHERE collname IN ('pg_c_utf8', 'und-x-icu')")
        ).scalars()
        for collation in ["default", *collations]:
            pairs = connection.execute(
                text(f"""
                    SELECT letter, lower(letter) FROM (
                        SELECT chr(code) COLLATE "{collation}" AS letter FROM generate_series(1, 131071) code
                        WHERE code NOT BETWEEN 55296 AND 57343
                    ) AS letters WHERE lower(letter) <> letter
                    """)
            ).all()
            assert len(pairs) >= 26
            folded = [(fold(letter), fold(small)) for letter, small in pairs]
            assert [(one, other) for one, other in folded if one != other and ANY not in {one, other}] == []


@pytest.mark.parametrize(
    ("one", "other"), [("STRASSE", "Straße"), ("İstanbul", "\u0131stanbul"), ("Café ", "cafe\u0301")]
)
def test_other_spellings_of_a_name_are_the_same_too(one: str, other: str) -> None:
    assert fold(one) == fold(other)
