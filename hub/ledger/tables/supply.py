"""The supply of rooms: what the hub has done to each, every trip, and who approved a timetable."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from hub.ledger.tables.columns import metadata, text_column, time_column

# One row for each device from the first time that anything was done to its supply.
supplies = Table(
    "supplies",
    metadata,
    Column("device", Text, primary_key=True),
    text_column("account"),
    Column("state", Text, nullable=False),  # hub/campus/supply/desired.py names them
    text_column("cause"),
    text_column("reason"),
    Column("since_ms", BigInteger, nullable=False),
    # The command that is to change it: on disk before it is made.
    Column("episode", Integer, nullable=False),
    text_column("wish"),
    text_column("wish_cause"),
    Column("tries", Integer, nullable=False),
    text_column("command"),
    Column("begun_ms", BigInteger, nullable=False),
    Column("retry_ms", BigInteger, nullable=False),
    Column("trips", Integer, nullable=False),  # since staff unlocked it
    text_column("locked"),
    time_column("overloads"),  # the device's own count, as it was seen last
    text_column("batch"),  # in which its cut waits for a second person
    Column("batch_ms", BigInteger, nullable=False),
    Column("kept_until_ms", BigInteger, nullable=False),
    text_column("kept_by"),
    text_column("kept_reason"),
)

# Never changed.
trips = Table(
    "trips",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False),
    text_column("account"),
    Column("kind", Text, nullable=False),  # the point that told it
    Column("time_ms", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),  # since staff unlocked it
    time_column("power_before_w"),
    time_column("power_after_w"),
    Index("ix_trips_device", "device", "id"),
)

# Each form of a timetable that was applied; it switches nothing off before a second person has approved it.
timetables = Table(
    "timetables",
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("actor", Text, nullable=False),  # who applied it
    Column("seen_ms", BigInteger, nullable=False),
    text_column("approver"),
    time_column("approved_ms"),
)
