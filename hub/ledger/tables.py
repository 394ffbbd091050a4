"""The tables of the ledger. A change here needs a step in `migrations/versions`; a test compares the two.

Times are UTC milliseconds, money is whole fen, structured values are canonical JSON text. Plain SQL only,
so that the same tables and statements run on SQLite and on PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _time(name: str) -> Column[int]:
    """A moment that may not have come yet."""
    return Column(name, BigInteger)


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
    _text("cause"),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    _text("reason"),
    Column("held", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # The clock's monotonic time then: with created_ms it shows after a start whether a clock was set.
    Column("created_uptime_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    # From the order, or from the approval of a held one, to the last moment it may be sent.
    Column("deadline_ms", BigInteger, nullable=False, server_default="0"),
    _time("sent_ms"),
    _time("finished_ms"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _text("nonce"),
    _text("proof"),
    _text("resolution"),  # what a person found out of one that ended unknown
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
    _time("answered_ms"),
    _text("answer"),
    _text("reason"),
    _text("before"),  # whether the device was so already
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
    _text("cause"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("time_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    _text("cause"),
    Column("subject", Text, nullable=False),
    Column("action", Text, nullable=False),
    _text("before"),
    _text("after"),
    Column("hash", Text, nullable=False),
    Index("ix_audit_subject", "subject", "number"),
)

# One row: the last link of the chain, so that a missing last row shows.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("number", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),  # the part of a key that may be shown
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),  # argon2 of the secret part
    Column("role", Text, nullable=False),
    Column("place", Text, nullable=False),  # a building, or "*"
    _text("maker"),  # the actor who made it
    Column("created_ms", BigInteger, nullable=False),
    _time("expires_ms"),
    _time("revoked_ms"),
    _time("last_used_ms"),
)
