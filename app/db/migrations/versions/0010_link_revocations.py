"""Until when links to diagnostics were revoked, of one organization or of all"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one; what is revoked here opens there


def upgrade() -> None:
    op.execute("""
        CREATE TABLE link_revocations (
            organization varchar CONSTRAINT pk_link_revocations PRIMARY KEY, revoked_at timestamptz NOT NULL)
        """)


def downgrade() -> None:
    op.execute("DROP TABLE link_revocations")
