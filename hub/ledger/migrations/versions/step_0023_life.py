"""Settlements and transfers of rooms with their steps; which account an order of the desk is paid from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the tables."""
    op.add_column("orders", _text("source"))
    op.create_table(
        "room_jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        _text("other"),
        sa.Column("cut", sa.Boolean, nullable=False),
        sa.Column("give_back", sa.Boolean, nullable=False),
        _text("payee"),
        _text("reason"),
        _text("waits"),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
    )
    op.create_index("ix_room_jobs_account", "room_jobs", ["account"])
    op.create_index("ix_room_jobs_state", "room_jobs", ["state", "id"])
    op.create_table(
        "room_steps",
        sa.Column("job", sa.Text, sa.ForeignKey("room_jobs.id"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
    )
