"""How far a run is, while it is under way"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one; its runs tell of no progress


def upgrade() -> None:
    op.execute("ALTER TABLE runs ADD progress jsonb")


def downgrade() -> None:
    op.execute("ALTER TABLE runs DROP progress")
