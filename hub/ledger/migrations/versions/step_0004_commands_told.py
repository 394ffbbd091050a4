"""The length of a deadline, what was so before each try, and what became of an unknown one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns."""
    length = sa.Column("deadline_ms", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("commands", length)
    op.execute("UPDATE commands SET deadline_ms = expires_ms - created_ms")
    resolution = sa.Column("resolution", sa.Text, nullable=False, server_default="")
    op.add_column("commands", resolution)
    before = sa.Column("before", sa.Text, nullable=False, server_default="")
    op.add_column("attempts", before)
