"""What rooms and links were warned of, what is to be said of it where, and each room's use by day."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from hub.ledger.tables.columns import metadata, text_column, time_column

# One row for each time that a thing began; open until it ended.
alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),  # Clock.new_id
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # a room's account, device/ID, link/ID
    Column("level", Integer, nullable=False),  # 1 is the mildest of its kind
    text_column("building"),
    text_column("room"),
    Column("args", Text, nullable=False),  # canonical JSON: the figures of its text
    Column("raised_ms", BigInteger, nullable=False),
    Column("tell_ms", BigInteger, nullable=False),  # not before: its cool-down
    time_column("ended_ms"),
    text_column("quiet"),  # why nobody is told; empty when all are who want to be
    Index("ix_alerts_subject", "kind", "subject", "level", "raised_ms"),
    Index("ix_alerts_open", "ended_ms", "kind"),
    Index("ix_alerts_room", "building", "room", "id"),
)

# What each channel has still to say, and what it has said.
alert_messages = Table(
    "alert_messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("alert", Text, ForeignKey("alerts.id"), nullable=False, index=True),
    text_column("batch"),  # what went out together, and goes again together
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_ms", BigInteger, nullable=False),
    time_column("done_ms"),
    text_column("error"),
    Index("ix_alert_messages_next", "channel", "done_ms", "next_ms"),
)

# Rooms that want to hear nothing of a kind.
alert_mutes = Table(
    "alert_mutes",
    metadata,
    Column("building", Text, primary_key=True),
    Column("room", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("side", Text, primary_key=True),  # who said so: the room, or the desk
    Column("since_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
)

# How far alerts have come: in the audit, in days.
alert_cursors = Table(
    "alert_cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# What a room used on a day of the site, once that is over.
room_days = Table(
    "room_days",
    metadata,
    Column("day", Text, primary_key=True),  # ISO date
    Column("building", Text, primary_key=True),
    Column("room", Text, primary_key=True),
    Column("used_wh", BigInteger, nullable=False),
    Column("night_wh", BigInteger, nullable=False),  # the most in one hour of the night
    Column("estimated", Integer, nullable=False),  # 1: not sure
    Index("ix_room_days_room", "building", "room", "day"),
)
