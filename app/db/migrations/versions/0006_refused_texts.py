"""Texts of which a generation's model makes no vector"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one


def upgrade() -> None:
    op.execute("""
        CREATE TABLE refused_texts (
            generation_id bigint CONSTRAINT fk_refused_texts_generation_id
                REFERENCES index_generations ON DELETE CASCADE,
            product_id bigint, text_hash bytea NOT NULL, reason varchar NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_refused_texts PRIMARY KEY (generation_id, product_id)
        )
        """)


def downgrade() -> None:
    op.execute("DROP TABLE refused_texts")
