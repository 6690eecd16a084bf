"""Organizations that left their registry: since when, and when they were retired"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one


def upgrade() -> None:
    op.execute("ALTER TABLE organizations ADD unlisted_since timestamptz, ADD retired_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE organizations DROP unlisted_since, DROP retired_at")
