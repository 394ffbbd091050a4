"""Alerts, what channels have to say of them, who wants none, and the use of rooms by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the tables."""
    _alerts()
    _messages()
    op.create_table(
        "alert_mutes",
        sa.Column("building", sa.Text, primary_key=True),
        sa.Column("room", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("side", sa.Text, primary_key=True),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "alert_cursors",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "room_days",
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("building", sa.Text, primary_key=True),
        sa.Column("room", sa.Text, primary_key=True),
        sa.Column("used_wh", sa.BigInteger, nullable=False),
        sa.Column("night_wh", sa.BigInteger, nullable=False),
        sa.Column("estimated", sa.Integer, nullable=False),
    )
    op.create_index("ix_room_days_room", "room_days", ["building", "room", "day"])


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        _text("building"),
        _text("room"),
        sa.Column("args", sa.Text, nullable=False),
        sa.Column("raised_ms", sa.BigInteger, nullable=False),
        sa.Column("tell_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        _text("quiet"),
    )
    op.create_index("ix_alerts_subject", "alerts", ["kind", "subject", "level", "raised_ms"])
    op.create_index("ix_alerts_open", "alerts", ["ended_ms", "kind"])
    op.create_index("ix_alerts_room", "alerts", ["building", "room", "id"])


def _messages() -> None:
    op.create_table(
        "alert_messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("alert", sa.Text, sa.ForeignKey("alerts.id"), nullable=False),
        _text("batch"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_ms", sa.BigInteger, nullable=False),
        sa.Column("done_ms", sa.BigInteger),
        _text("error"),
    )
    op.create_index("ix_alert_messages_alert", "alert_messages", ["alert"])
    op.create_index("ix_alert_messages_next", "alert_messages", ["channel", "done_ms", "next_ms"])
