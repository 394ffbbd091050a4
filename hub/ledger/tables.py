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
    UniqueConstraint,
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

# Money and energy, double entry. An account is a room's, a platform's, or one of the house's own.
accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),  # hub/campus/accounts.py names them
    Column("kind", Text, nullable=False),
    _text("building"),
    _text("room"),
    _text("utility"),
    Column("opened_ms", BigInteger, nullable=False),
    _time("closed_ms"),
    Index("ix_accounts_room", "building", "room"),
)

transactions = Table(
    "transactions",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("time_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),  # what it is for: done once, for ever
    Column("actor", Text, nullable=False),
    _text("cause"),
)

# Never changed. The amounts of a transaction come to 0 in each unit.
postings = Table(
    "postings",
    metadata,
    Column("number", BigInteger, ForeignKey("transactions.number"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("account", Text, ForeignKey("accounts.id"), nullable=False),
    Column("unit", Text, nullable=False),  # fen, Wh, ml
    Column("amount", BigInteger, nullable=False),
    Index("ix_postings_account", "account", "number"),
)

# The sums of the postings, kept beside them so that a balance is one row; checked hourly.
balances = Table(
    "balances",
    metadata,
    Column("account", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
)

prices = Table(
    "prices",
    metadata,
    Column("utility", Text, primary_key=True),
    Column("building", Text, primary_key=True),  # "" for all
    Column("from_day", Text, primary_key=True),  # ISO date, local; holds from its midnight
    Column("rate", BigInteger, nullable=False),  # millionths of a fen for one Wh (or ml)
    Column("entered_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
)

# How far a meter's counter is charged to its room; one row for each binding.
meterings = Table(
    "meterings",
    metadata,
    Column("binding", Text, ForeignKey("bindings.id"), primary_key=True),
    Column("account", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    # What the product says of its counter, kept for the last charge of a device that is gone.
    Column("point", Text, nullable=False),
    Column("rated_w", BigInteger, nullable=False),  # 0: no limit of a step is known
    Column("rollover", BigInteger, nullable=False),  # 0: it never begins anew by itself
    Column("counter", BigInteger, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("rest", BigInteger, nullable=False),  # millionths of a fen not charged yet
    _text("held"),  # why nothing is charged now: a fallen counter, a jump
)

orders = Table(
    "orders",
    metadata,
    Column("id", Text, primary_key=True),  # Clock.new_id
    Column("platform", Text, nullable=False),
    Column("number", Text, nullable=False),  # the platform's; with it unique for ever
    Column("body_hash", Text, nullable=False),
    Column("account", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    _text("device"),
    Column("amount_fen", BigInteger, nullable=False),
    Column("state", Text, nullable=False, index=True),
    _text("reason"),
    _text("command"),  # the credit's id in commands
    Column("received_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    UniqueConstraint("platform", "number", name="uq_orders_number"),
    Index("ix_orders_device", "device", "state"),
)

# What the platforms must be told, until they have taken it.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("order_id", Text, ForeignKey("orders.id"), nullable=False, index=True),
    Column("event", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_ms", BigInteger, nullable=False),
    _time("done_ms"),
    _text("error"),
    Index("ix_outbox_next", "done_ms", "next_ms"),
)

# What reconciliation found, until somebody has ended it.
differences = Table(
    "differences",
    metadata,
    Column("id", Text, primary_key=True),
    Column("day", Text, nullable=False),
    Column("subject", Text, nullable=False),  # an order's number, or a device
    Column("kind", Text, nullable=False),
    _time("platform_fen"),
    _time("order_fen"),
    _time("device_fen"),
    _text("detail"),
    Column("found_ms", BigInteger, nullable=False),
    _text("owner"),
    _time("ended_ms"),
    _text("resolution"),
    UniqueConstraint("day", "subject", "kind", name="uq_differences"),
)
