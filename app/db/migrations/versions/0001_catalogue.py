"""The catalogue, its feeds, its ledger"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# The tables of generations are made at run time.
_DROP_GENERATIONS = """
DO $$ DECLARE generation bigint; BEGIN
    FOR generation IN SELECT id FROM index_generations LOOP
        EXECUTE format('DROP TABLE IF EXISTS vectors_%s', generation);
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute("CREATE SCHEMA staging")

    op.create_table(
        "categories",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("path", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["categories.id"], name=op.f("fk_categories_parent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_categories")),
        sa.UniqueConstraint("path", name=op.f("uq_categories_path")),
    )
    op.create_index(op.f("ix_categories_parent_id"), "categories", ["parent_id"], unique=False)
    op.create_table(
        "index_generations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("identity_hash", sa.LargeBinary(), nullable=False),
        sa.Column("identity", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("live_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_index_generations")),
        sa.UniqueConstraint("identity_hash", name=op.f("uq_index_generations_identity_hash")),
    )
    op.create_index(
        "uq_index_generations_live",
        "index_generations",
        ["status"],
        unique=True,
        postgresql_where=sa.text("status = 'live'"),
    )
    op.create_table(
        "occurrences",
        sa.Column("shard_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("feed_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("superseded", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("urn", sa.Text(collation="C"), nullable=True),
        sa.Column("item_hash", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("offers", sa.Integer(), nullable=False),
        sa.Column("offers_rejected", sa.Integer(), nullable=False),
        sa.Column("issues", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("shard_id", "position", name=op.f("pk_occurrences")),
    )
    op.create_index(
        "ix_occurrences_superseded", "occurrences", ["feed_id"], unique=False, postgresql_where=sa.text("superseded")
    )
    op.create_index("ix_occurrences_urn", "occurrences", ["feed_id", "urn", "kind"], unique=False)
    op.create_table(
        "offers",
        sa.Column("product_id", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("price", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("availability", sa.String(), nullable=True),
        sa.Column("inventory", sa.BigInteger(), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("url", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("product_id", "ordinal", name=op.f("pk_offers")),
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("urn", sa.Text(collation="C"), nullable=False),
        sa.Column("ingestor", sa.String(), nullable=False),
        sa.Column("is_stub", sa.Boolean(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("logo", sa.String(), nullable=True),
        sa.Column("same_as", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("feed_url", sa.String(), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
        sa.UniqueConstraint("urn", name=op.f("uq_organizations_urn")),
    )
    op.create_table(
        "product_groups",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("urn", sa.Text(collation="C"), nullable=False),
        sa.Column("is_stub", sa.Boolean(), nullable=False),
        sa.Column("product_group_id", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("image", sa.String(), nullable=True),
        sa.Column("brand_id", sa.BigInteger(), nullable=True),
        sa.Column("category_id", sa.BigInteger(), nullable=True),
        sa.Column("varies_by", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("raw", postgresql.BYTEA(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product_groups")),
    )
    op.create_index(
        "ix_product_groups_stubs",
        "product_groups",
        ["organization_id"],
        unique=False,
        postgresql_where=sa.text("is_stub AND deleted_at IS NULL"),
    )
    op.create_index("uq_product_groups_urn", "product_groups", ["urn", "organization_id"], unique=True)
    op.create_table(
        "products",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("urn", sa.Text(collation="C"), nullable=False),
        sa.Column("sku", sa.Text(collation="C"), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("image", sa.String(), nullable=True),
        sa.Column("brand_name", sa.String(), nullable=True),
        sa.Column("brand_id", sa.BigInteger(), nullable=True),
        sa.Column("category_id", sa.BigInteger(), nullable=True),
        sa.Column("group_id", sa.BigInteger(), nullable=True),
        sa.Column("gtins", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("mpn", sa.String(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("text_hash", sa.LargeBinary(), nullable=False),
        sa.Column("raw", postgresql.BYTEA(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
    )
    op.create_index(
        "ix_products_sku_any",
        "products",
        [sa.text('lower(sku COLLATE "C")')],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_products_mpn",
        "products",
        [sa.text('lower(mpn COLLATE "C")')],
        postgresql_where=sa.text("deleted_at IS NULL AND mpn IS NOT NULL"),
    )
    op.create_index(
        "ix_products_gtins",
        "products",
        ["gtins"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("ix_products_brand", "products", ["brand_id"], postgresql_where=sa.text("deleted_at IS NULL"))
    op.create_index(
        "ix_products_brand_name",
        "products",
        [sa.text("lower(brand_name)")],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("ix_products_category", "products", ["category_id"], postgresql_where=sa.text("deleted_at IS NULL"))
    op.create_index(
        "ix_products_deleted",
        "products",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_products_group",
        "products",
        ["group_id"],
        unique=False,
        postgresql_where=sa.text("group_id IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_products_live",
        "products",
        ["organization_id", "id"],
        unique=False,
        postgresql_include=["text_hash"],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_products_sku",
        "products",
        ["organization_id", "sku"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("uq_products_urn", "products", ["urn", "organization_id"], unique=True)
    op.create_table(
        "starts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ingestor", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_starts")),
    )
    op.create_table(
        "brands",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("urn", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("logo", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_brands_organization_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brands")),
    )
    op.create_index(
        "uq_brands_feed",
        "brands",
        ["organization_id", "urn", "name"],
        unique=True,
        postgresql_where=sa.text("origin = 'feed'"),
    )
    op.create_index(
        "uq_brands_registry",
        "brands",
        ["organization_id", "urn"],
        unique=True,
        postgresql_where=sa.text("origin = 'registry'"),
    )
    op.create_table(
        "feeds",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("ingestor", sa.String(), nullable=False),
        sa.Column("source_type", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("context_hash", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("attempted_fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("live_products", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("live_groups", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("live_offers", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_feeds_organization_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feeds")),
        sa.UniqueConstraint("organization_id", name=op.f("uq_feeds_organization_id")),
    )
    op.create_table(
        "organization_categories",
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("category_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["category_id"], ["categories.id"], name=op.f("fk_organization_categories_category_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_organization_categories_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "category_id", name=op.f("pk_organization_categories")),
    )
    op.create_index(
        op.f("ix_organization_categories_category_id"), "organization_categories", ["category_id"], unique=False
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("start_id", sa.Uuid(), nullable=False),
        sa.Column("ingestor", sa.String(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_runs_organization_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["start_id"], ["starts.id"], name=op.f("fk_runs_start_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index("ix_runs_created_at", "runs", ["created_at"], unique=False)
    op.create_index(op.f("ix_runs_start_id"), "runs", ["start_id"], unique=False)
    op.create_index(
        "uq_runs_running", "runs", ["organization_id"], unique=True, postgresql_where=sa.text("status = 'running'")
    )
    op.create_table(
        "feed_shards",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("feed_id", sa.BigInteger(), nullable=False),
        sa.Column("url", sa.Text(collation="C"), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("bytes_hash", sa.LargeBinary(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("products", sa.Integer(), nullable=False),
        sa.Column("product_groups", sa.Integer(), nullable=False),
        sa.Column("offers", sa.Integer(), nullable=False),
        sa.Column("products_rejected", sa.Integer(), nullable=False),
        sa.Column("product_groups_rejected", sa.Integer(), nullable=False),
        sa.Column("offers_rejected", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name=op.f("fk_feed_shards_feed_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_shards")),
    )
    op.create_index("uq_feed_shards_url", "feed_shards", ["feed_id", "url"], unique=True)
    op.create_table(
        "issues",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("ingestor", sa.String(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("feed_id", sa.BigInteger(), nullable=True),
        sa.Column("shard", sa.String(), nullable=True),
        sa.Column("attempted", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("places", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["feed_id"], ["feeds.id"], name=op.f("fk_issues_feed_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_issues_organization_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issues")),
    )
    op.create_index("ix_issues_feed_id", "issues", ["feed_id", "shard"], unique=False)
    op.create_index("ix_issues_organization_id", "issues", ["organization_id"], unique=False)
    # Compressed already: PostgreSQL need not try.
    op.execute("ALTER TABLE products ALTER raw SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE product_groups ALTER raw SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.execute("DROP SCHEMA staging CASCADE")
    op.execute(_DROP_GENERATIONS)

    op.drop_index("ix_issues_organization_id", table_name="issues")
    op.drop_index("ix_issues_feed_id", table_name="issues")
    op.drop_table("issues")
    op.drop_index("uq_feed_shards_url", table_name="feed_shards")
    op.drop_table("feed_shards")
    op.drop_index("uq_runs_running", table_name="runs", postgresql_where=sa.text("status = 'running'"))
    op.drop_index(op.f("ix_runs_start_id"), table_name="runs")
    op.drop_index("ix_runs_created_at", table_name="runs")
    op.drop_table("runs")
    op.drop_index(op.f("ix_organization_categories_category_id"), table_name="organization_categories")
    op.drop_table("organization_categories")
    op.drop_table("feeds")
    op.drop_index("uq_brands_registry", table_name="brands", postgresql_where=sa.text("origin = 'registry'"))
    op.drop_index("uq_brands_feed", table_name="brands", postgresql_where=sa.text("origin = 'feed'"))
    op.drop_table("brands")
    op.drop_table("starts")
    op.drop_index("uq_products_urn", table_name="products")
    op.drop_index("ix_products_sku", table_name="products", postgresql_where=sa.text("deleted_at IS NULL"))
    op.drop_index(
        "ix_products_live",
        table_name="products",
        postgresql_include=["text_hash"],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_index(
        "ix_products_group",
        table_name="products",
        postgresql_where=sa.text("group_id IS NOT NULL AND deleted_at IS NULL"),
    )
    op.drop_index("ix_products_deleted", table_name="products", postgresql_where=sa.text("deleted_at IS NOT NULL"))
    op.drop_table("products")
    op.drop_index("uq_product_groups_urn", table_name="product_groups")
    op.drop_index(
        "ix_product_groups_stubs",
        table_name="product_groups",
        postgresql_where=sa.text("is_stub AND deleted_at IS NULL"),
    )
    op.drop_table("product_groups")
    op.drop_table("organizations")
    op.drop_table("offers")
    op.drop_index("ix_occurrences_urn", table_name="occurrences")
    op.drop_index("ix_occurrences_superseded", table_name="occurrences", postgresql_where=sa.text("superseded"))
    op.drop_table("occurrences")
    op.drop_index(
        "uq_index_generations_live", table_name="index_generations", postgresql_where=sa.text("status = 'live'")
    )
    op.drop_table("index_generations")
    op.drop_index(op.f("ix_categories_parent_id"), table_name="categories")
    op.drop_table("categories")
