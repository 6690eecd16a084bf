"""Index generations: how they were made, where they are, when they were retired; equal texts found by their hash"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one

# The tables of generations are made at run time.
_FOR_EACH = """
DO $$ DECLARE generation bigint; BEGIN
    FOR generation IN SELECT id FROM index_generations WHERE {condition} LOOP
        EXECUTE format('{statement}', generation, generation);
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute("""
        ALTER TABLE index_generations ADD made_with jsonb, ADD namespace varchar, ADD retired_at timestamptz
        """)
    op.execute(
        _FOR_EACH.format(
            condition="true", statement="CREATE INDEX IF NOT EXISTS vectors_%s_text_hash ON vectors_%s (text_hash)"
        )
    )


def downgrade() -> None:
    op.execute(_FOR_EACH.format(condition="identity ? 'index'", statement="DROP TABLE IF EXISTS acknowledged_%s"))
    op.execute("DELETE FROM index_generations WHERE identity ? 'index'")
    op.execute(
        _FOR_EACH.format(condition="status IN ('retired', 'dropping')", statement="DROP TABLE IF EXISTS vectors_%s")
    )
    op.execute("DELETE FROM index_generations WHERE status IN ('retired', 'dropping')")
    op.execute(_FOR_EACH.format(condition="true", statement="DROP INDEX IF EXISTS vectors_%s_text_hash"))
    op.execute("ALTER TABLE index_generations DROP made_with, DROP namespace, DROP retired_at")
