"""The platforms' bills, what comparing them brought, and what of it a person must end."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, UniqueConstraint

from hub.ledger.tables.columns import metadata, text_column, time_column

# A platform's bill of one local day, once all of its lines are in `bill_lines`.
bills = Table(
    "bills",
    metadata,
    Column("platform", Text, primary_key=True),
    Column("day", Text, primary_key=True),  # ISO date
    Column("source", Text, nullable=False),  # asked, file
    Column("digest", Text, nullable=False),  # SHA-256 of its lines
    Column("lines", Integer, nullable=False),
    Column("taken_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
)

bill_lines = Table(
    "bill_lines",
    metadata,
    Column("platform", Text, primary_key=True),
    Column("number", Text, primary_key=True),
    Column("day", Text, nullable=False),  # on which it was paid
    Column("amount_fen", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # paid, refunded
    Column("paid_ms", BigInteger, nullable=False),
    Index("ix_bill_lines_day", "platform", "day"),
)

# Every result that a day came to; one that is as the one before it is not written again.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("day", Text, primary_key=True),
    Column("platform", Text, primary_key=True),  # empty: the meters of the house
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1
    Column("time_ms", BigInteger, nullable=False),
    text_column("bill"),  # the source of its bill; empty: there was none
    Column("digest", Text, nullable=False),  # SHA-256 of every item
    Column("tallies", Text, nullable=False),  # JSON: items and sums by level and finding
    Column("pending", Integer, nullable=False),  # items whose time is not over
)

# What was not equal; each has an owner, until it is ended.
differences = Table(
    "differences",
    metadata,
    Column("id", Text, primary_key=True),  # Clock.new_id
    Column("day", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("level", Text, nullable=False),  # bill, device, counter
    Column("subject", Text, nullable=False),  # an order's number, a device, a metering
    Column("finding", Text, nullable=False),
    Column("unit", Text, nullable=False),  # of the four figures: fen, Wh
    time_column("billed"),
    time_column("ordered"),
    time_column("credited"),
    time_column("counted"),
    text_column("detail"),
    Column("found_ms", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    time_column("ended_ms"),
    text_column("ended_by"),
    text_column("resolution"),
    UniqueConstraint("day", "platform", "level", "subject", "finding", name="uq_differences"),
    Index("ix_differences_ended", "ended_ms", "day"),
)
