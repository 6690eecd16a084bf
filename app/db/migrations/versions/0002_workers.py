"""Workers: starts that are queued, claimed and sent again; schedules; metrics"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
WORKS_SINCE = "0002"  # the oldest revision whose code goes on with this one


def upgrade() -> None:
    op.execute("""
        ALTER TABLE starts
            ADD task varchar, ADD arguments jsonb, ADD key varchar, ADD attempt int NOT NULL DEFAULT 0,
            ADD failures int NOT NULL DEFAULT 0, ADD lost int NOT NULL DEFAULT 0, ADD lease_expires_at timestamptz,
            ADD due_at timestamptz, ADD sent_at timestamptz, ADD expires_at timestamptz, ADD waits_for bigint,
            ADD into_id uuid CONSTRAINT fk_starts_into_id REFERENCES starts ON DELETE CASCADE, ADD result jsonb,
            ADD error varchar, ADD announced bool NOT NULL DEFAULT false, ADD started_at timestamptz,
            ALTER worker DROP NOT NULL
        """)
    op.execute("CREATE UNIQUE INDEX uq_starts_queued ON starts (key) WHERE status = 'queued' AND attempt = 0")
    op.execute("CREATE UNIQUE INDEX uq_starts_running ON starts (key) WHERE status = 'running'")
    op.execute("CREATE INDEX ix_starts_open ON starts (status) WHERE status IN ('queued', 'running')")
    op.execute("CREATE INDEX ix_starts_unannounced ON starts (finished_at) WHERE task IS NOT NULL AND NOT announced")
    op.execute("CREATE INDEX ix_starts_created_at ON starts (created_at)")
    op.execute("CREATE INDEX ix_starts_into_id ON starts (into_id)")
    op.execute("DROP INDEX ix_runs_start_id")
    op.execute("""
        UPDATE runs SET status = 'failed', error = 'The node was upgraded', finished_at = now() WHERE status = 'running'
        """)
    op.execute("UPDATE starts SET status = 'failed', finished_at = now() WHERE status = 'running'")
    op.execute("""
        ALTER TABLE runs DROP attempt, DROP worker, DROP lease_expires_at,
            ADD rerun_requested bool NOT NULL DEFAULT false, ADD staged_for bytea
        """)
    op.execute("CREATE UNIQUE INDEX uq_runs_start ON runs (start_id, organization_id)")
    op.execute("ALTER TABLE feeds ADD seen jsonb")
    op.execute("""
        CREATE UNLOGGED TABLE pieces (
            owner uuid NOT NULL, ordinal int NOT NULL, work jsonb NOT NULL, worker varchar,
            lease_expires_at timestamptz, result jsonb, CONSTRAINT pk_pieces PRIMARY KEY (owner, ordinal))
        """)
    op.execute("""
        CREATE TABLE workers (
            name varchar CONSTRAINT pk_workers PRIMARY KEY, hostname varchar NOT NULL,
            started_at timestamptz NOT NULL DEFAULT now(), seen_at timestamptz NOT NULL DEFAULT now())
        """)
    op.execute("""
        CREATE TABLE counters (
            name varchar NOT NULL, labels varchar NOT NULL, value double precision NOT NULL,
            CONSTRAINT pk_counters PRIMARY KEY (name, labels))
        """)
    op.execute("""
        CREATE TABLE schedules (
            name varchar CONSTRAINT pk_schedules PRIMARY KEY, task varchar NOT NULL, args jsonb NOT NULL DEFAULT '[]',
            cron varchar, every double precision, enabled bool NOT NULL DEFAULT true, seed jsonb,
            updated_at timestamptz NOT NULL DEFAULT now())
        """)
    op.execute("""
        CREATE TABLE beat_slots (
            name varchar CONSTRAINT pk_beat_slots PRIMARY KEY, due_at timestamptz NOT NULL,
            taken_at timestamptz NOT NULL DEFAULT clock_timestamp())
        """)


def downgrade() -> None:
    op.execute("DROP TABLE beat_slots, schedules, counters, workers, pieces")
    op.execute("ALTER TABLE feeds DROP seen")
    op.execute("DROP INDEX uq_runs_start")
    op.execute("""
        ALTER TABLE runs DROP rerun_requested, DROP staged_for, ADD attempt int NOT NULL DEFAULT 1,
            ADD worker varchar NOT NULL DEFAULT 'unknown:0:0', ADD lease_expires_at timestamptz
        """)
    op.execute("ALTER TABLE runs ALTER worker DROP DEFAULT")
    op.execute("CREATE INDEX ix_runs_start_id ON runs (start_id)")
    op.execute("DELETE FROM starts WHERE status IN ('queued', 'coalesced')")
    op.execute("UPDATE starts SET worker = 'unknown:0:0' WHERE worker IS NULL")
    op.execute("""
        ALTER TABLE starts DROP task, DROP arguments, DROP key, DROP attempt, DROP failures, DROP lost,
            DROP lease_expires_at, DROP due_at, DROP sent_at, DROP expires_at, DROP waits_for, DROP into_id,
            DROP result, DROP error, DROP announced, DROP started_at, ALTER worker SET NOT NULL
        """)
    op.execute("DROP INDEX ix_starts_created_at")
