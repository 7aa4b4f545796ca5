"""Roles of API keys, operators, the audit chain, retired data keys."""

from __future__ import annotations

from alembic import op

from authpipe.store.migrate import run_sql_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything of ``0002_walls.sql``."""
    run_sql_file(op.get_bind(), "0002_walls.sql")
