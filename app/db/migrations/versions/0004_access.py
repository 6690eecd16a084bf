"""The API: keys, and secrets that its processes share"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one


def upgrade() -> None:
    op.execute("""
        CREATE TABLE api_keys (
            id varchar CONSTRAINT pk_api_keys PRIMARY KEY, hash bytea NOT NULL, name varchar NOT NULL,
            scope varchar NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz,
            revoked_at timestamptz, last_used_at timestamptz)
        """)
    op.execute("CREATE TABLE secrets (name varchar CONSTRAINT pk_secrets PRIMARY KEY, value bytea NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE api_keys, secrets")
