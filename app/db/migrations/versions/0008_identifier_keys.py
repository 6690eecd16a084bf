"""Identifiers are looked up without their gaps: `CF-259X` is `cf259x`"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one; its look-ups are slower


def upgrade() -> None:
    op.execute("""
        DROP INDEX ix_products_sku_any, ix_products_mpn;
        CREATE INDEX ix_products_sku_key ON products (translate(lower(sku COLLATE "C"), ' -_./', ''))
            WHERE deleted_at IS NULL;
        CREATE INDEX ix_products_mpn_key ON products (translate(lower(mpn COLLATE "C"), ' -_./', ''))
            WHERE deleted_at IS NULL AND mpn IS NOT NULL
        """)


def downgrade() -> None:
    op.execute("""
        DROP INDEX ix_products_sku_key, ix_products_mpn_key;
        CREATE INDEX ix_products_sku_any ON products (lower(sku COLLATE "C")) WHERE deleted_at IS NULL;
        CREATE INDEX ix_products_mpn ON products (lower(mpn COLLATE "C")) WHERE deleted_at IS NULL AND mpn IS NOT NULL
        """)
