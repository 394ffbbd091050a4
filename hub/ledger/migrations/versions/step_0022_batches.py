"""Batches with their items; who had approved a command before it was made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the tables, and the new column."""
    op.add_column("commands", _text("approver"))
    _batches()
    op.create_table(
        "batch_items",
        sa.Column("batch", sa.Text, sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        _text("device"),
        _text("account"),
        _text("building"),
        _text("floor"),
        _text("room"),
        sa.Column("state", sa.Text, nullable=False),
        _text("reason"),
        _text("command"),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_batch_items_state", "batch_items", ["batch", "state", "place"])


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        _text("building"),
        sa.Column("actor", sa.Text, nullable=False),
        _text("cause"),
        sa.Column("pause_ms", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _text("reason"),
        _text("approver"),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("begun_ms", sa.BigInteger),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("finished_ms", sa.BigInteger),
    )
    op.create_index("ix_batches_finished", "batches", ["finished_ms"])
