"""Organizations that left their registry: since when, and when they were retired; the versions of registries"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one


def upgrade() -> None:
    op.execute("ALTER TABLE organizations ADD unlisted_since timestamptz, ADD retired_at timestamptz")
    op.execute("""
        CREATE TABLE registries (
            ingestor varchar CONSTRAINT pk_registries PRIMARY KEY, path varchar NOT NULL, seen jsonb NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now())
        """)


def downgrade() -> None:
    op.execute("DROP TABLE registries")
    op.execute("ALTER TABLE organizations DROP unlisted_since, DROP retired_at")
