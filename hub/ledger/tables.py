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

# Every inventory that was applied; the last one is what the hub runs.
inventories = Table(
    "inventories",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("time_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the files
    Column("files", LargeBinary),  # compressed; of old inventories gone
)

# Every device that was ever installed; its id is never given to another.
devices = Table(
    "devices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("profile", Text, nullable=False),
    Column("link", Text, nullable=False),
    Column("address", Text, nullable=False),
    _text("building"),
    _text("floor"),
    _text("room"),
    _text("circuit"),
    _text("period_s"),  # only where it is not the product's
    _text("settings"),  # only those that are not the product's: name=value;…
    _text("note"),
    Column("first_ms", BigInteger, nullable=False),
    _time("retired_ms"),
    Index("ix_devices_room", "building", "room"),
)

# Which room a device serves, from when to when; the figures of its counter then are kept beside it.
bindings = Table(
    "bindings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, ForeignKey("devices.id"), nullable=False, index=True),
    Column("building", Text, nullable=False),
    _text("floor"),
    Column("room", Text, nullable=False),
    _text("circuit"),
    Column("from_ms", BigInteger, nullable=False),
    _time("to_ms"),  # open while it serves
    _time("first_value"),  # the counter in its point's unit as the binding began, when known
    _time("first_ms"),  # when it was read
    _time("last_value"),  # the same as it ended
    _time("last_ms"),
    Column("entered_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Index("ix_bindings_room", "building", "room", "from_ms"),
)

# What a device, or the hub itself, proves itself with at the broker; good until it is revoked.
credentials = Table(
    "credentials",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),  # password, certificate
    Column("username", Text, nullable=False),  # at the broker
    Column(
        "hash", Text, nullable=False
    ),  # of the password, as Mosquitto reads it; or the fingerprint
    _text("serial"),  # of the certificate, hexadecimal
    Column("issued_ms", BigInteger, nullable=False),
    _time("expires_ms"),
    _time("revoked_ms"),
    _time("evicted_ms"),  # when the broker had surely ended its sessions
    Column("actor", Text, nullable=False),
)
