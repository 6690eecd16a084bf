"""Generations of the search index that were replaced and dropped"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one: that looks at no such table


def upgrade() -> None:
    op.execute("""
        CREATE TABLE dropped_generations (
            identity_hash bytea CONSTRAINT pk_dropped_generations PRIMARY KEY, identity jsonb NOT NULL,
            dropped_at timestamptz NOT NULL DEFAULT now()
        )
        """)


def downgrade() -> None:
    op.execute("DROP TABLE dropped_generations")
