"""Commands with their attempts, frames and approvals; latches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "commands",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        _text("cause"),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _text("reason"),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("created_uptime_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("sent_ms", sa.BigInteger),
        sa.Column("finished_ms", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        _text("nonce"),
        _text("proof"),
    )
    op.create_index("ix_commands_state", "commands", ["state"])
    op.create_index("ix_commands_device", "commands", ["device", "created_ms"])
    op.create_table(
        "attempts",
        sa.Column("command", sa.Text, sa.ForeignKey("commands.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("sent_ms", sa.BigInteger, nullable=False),
        sa.Column("answered_ms", sa.BigInteger),
        _text("answer"),
        _text("reason"),
    )
    op.create_table(
        "frames",
        sa.Column("command", sa.Text, sa.ForeignKey("commands.id"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("outgoing", sa.Boolean, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "approvals",
        sa.Column("command", sa.Text, sa.ForeignKey("commands.id"), primary_key=True),
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "latches",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("latched", sa.Boolean, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        _text("cause"),
    )
