"""Which products are deleted, by id: what an unfiltered search has to ask of the catalogue"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one


def upgrade() -> None:
    op.execute("CREATE INDEX ix_products_deleted_id ON products (id) WHERE deleted_at IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX ix_products_deleted_id")
