"""Groups of the products that a search found"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one; it finds the same, more slowly


def upgrade() -> None:
    op.execute("CREATE INDEX ix_products_grouped ON products (id) INCLUDE (group_id) WHERE group_id IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX ix_products_grouped")
