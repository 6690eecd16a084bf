"""What a search asks of the catalogue: which products are deleted, brands by name and URN, categories by parts"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one


def upgrade() -> None:
    op.execute("CREATE INDEX ix_products_deleted_id ON products (id) WHERE deleted_at IS NOT NULL")
    op.execute("CREATE INDEX ix_brands_name ON brands (lower(name))")
    op.execute("CREATE INDEX ix_brands_urn ON brands (urn)")
    op.execute("CREATE INDEX ix_categories_parts ON categories USING gin (string_to_array(lower(path), ' > '))")


def downgrade() -> None:
    op.execute("DROP INDEX ix_products_deleted_id, ix_brands_name, ix_brands_urn, ix_categories_parts")
