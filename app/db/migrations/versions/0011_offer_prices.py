"""Finding offers by price"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one; it finds the same, more slowly


def upgrade() -> None:
    op.execute("CREATE INDEX ix_offers_price ON offers (price, product_id)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_offers_price")
