"""The supply of rooms, their trips, and timetables with who approved them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def upgrade() -> None:
    """Make the tables."""
    _supplies()
    op.create_table(
        "trips",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, nullable=False),
        _text("account"),
        sa.Column("kind", sa.Text, nullable=False),
        _big("time_ms"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("power_before_w", sa.BigInteger),
        sa.Column("power_after_w", sa.BigInteger),
    )
    op.create_index("ix_trips_device", "trips", ["device", "id"])
    op.create_table(
        "timetables",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("actor", sa.Text, nullable=False),
        _big("seen_ms"),
        _text("approver"),
        sa.Column("approved_ms", sa.BigInteger),
    )


def _supplies() -> None:
    op.create_table(
        "supplies",
        sa.Column("device", sa.Text, primary_key=True),
        _text("account"),
        sa.Column("state", sa.Text, nullable=False),
        _text("cause"),
        _text("reason"),
        _big("since_ms"),
        sa.Column("episode", sa.Integer, nullable=False),
        _text("wish"),
        _text("wish_cause"),
        sa.Column("tries", sa.Integer, nullable=False),
        _text("command"),
        _big("begun_ms"),
        _big("retry_ms"),
        sa.Column("trips", sa.Integer, nullable=False),
        _text("locked"),
        sa.Column("overloads", sa.BigInteger),
        _text("batch"),
        _big("batch_ms"),
        _big("kept_until_ms"),
        _text("kept_by"),
        _text("kept_reason"),
    )
