"""What happens to a room as a whole: settlements and transfers, and each step of theirs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text

from hub.ledger.tables.columns import metadata, text_column, time_column

room_jobs = Table(
    "room_jobs",
    metadata,
    Column("id", Text, primary_key=True),  # Clock.new_id
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("step", Text, nullable=False),  # the last one done
    Column("account", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    text_column("other"),  # the account that a transfer goes to
    Column("cut", Boolean, nullable=False),
    Column("give_back", Boolean, nullable=False),
    text_column("payee"),
    text_column("reason"),
    text_column("waits"),  # for what, while it does
    Column("actor", Text, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    time_column("ended_ms"),
    Index("ix_room_jobs_state", "state", "id"),
)

# Never changed; each in the transaction of what it tells.
room_steps = Table(
    "room_steps",
    metadata,
    Column("job", Text, ForeignKey("room_jobs.id"), primary_key=True),
    Column("place", Integer, primary_key=True),  # from 1
    Column("name", Text, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("said", Text, nullable=False),  # JSON
)
