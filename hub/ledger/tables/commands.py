"""Commands with every try and frame of theirs, approvals, and the fire latch."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from hub.ledger.tables.columns import metadata, text_column, time_column

commands = Table(
    "commands",
    metadata,
    Column("id", Text, primary_key=True),  # Clock.new_id: sorts by the time it was made
    Column("device", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("body_hash", Text, nullable=False),
    Column("actor", Text, nullable=False),
    # Its owner's name, a line break, and the owner's own key: unique for each owner, kept for ever.
    Column("key", Text, nullable=False, unique=True),
    text_column("cause"),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    text_column("reason"),
    Column("held", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # The clock's monotonic time then: with created_ms it shows after a start whether a clock was set.
    Column("created_uptime_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    # From the order, or from the approval of a held one, to the last moment it may be sent.
    Column("deadline_ms", BigInteger, nullable=False, server_default="0"),
    time_column("sent_ms"),
    time_column("finished_ms"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    text_column("nonce"),
    text_column("proof"),
    text_column("resolution"),  # what a person found out of one that ended unknown
    text_column("approver"),  # the second person who had approved it before it was made
    Index("ix_commands_state", "state", "id"),
    Index("ix_commands_device", "device", "id"),
    Index("ix_commands_created", "created_ms"),
    Index("ix_commands_sent", "sent_ms"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("command", Text, ForeignKey("commands.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("sent_ms", BigInteger, nullable=False),
    time_column("answered_ms"),
    text_column("answer"),
    text_column("reason"),
    text_column("before"),  # whether the device was so already
)

frames = Table(
    "frames",
    metadata,
    Column("command", Text, ForeignKey("commands.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("place", Integer, primary_key=True),  # from 0, in the order on the wire
    Column("time_ms", BigInteger, nullable=False),
    Column("outgoing", Boolean, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("command", Text, ForeignKey("commands.id"), primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("time_ms", BigInteger, nullable=False),
)

latches = Table(
    "latches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("latched", Boolean, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    text_column("cause"),
)
