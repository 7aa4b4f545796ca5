"""The first schema: environments, provider configs, connections, credentials, sessions, events."""

from __future__ import annotations

from alembic import op

from authpipe.store.migrate import run_sql_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything of ``0001_initial.sql``."""
    run_sql_file(op.get_bind(), "0001_initial.sql")
