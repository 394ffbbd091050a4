"""What is installed: files that were applied, devices, which room each serves, their credentials."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text

from hub.ledger.tables.columns import metadata, text_column, time_column

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
    text_column("building"),
    text_column("floor"),
    text_column("room"),
    text_column("circuit"),
    text_column("period_s"),  # only where it is not the product's
    text_column("settings"),  # only those that are not the product's: name=value;…
    text_column("note"),
    Column("first_ms", BigInteger, nullable=False),
    time_column("retired_ms"),
    Index("ix_devices_room", "building", "room"),
)

# Which room a device serves, from when to when; the figures of its counter then are kept beside it.
bindings = Table(
    "bindings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, ForeignKey("devices.id"), nullable=False, index=True),
    Column("building", Text, nullable=False),
    text_column("floor"),
    Column("room", Text, nullable=False),
    text_column("circuit"),
    Column("from_ms", BigInteger, nullable=False),
    time_column("to_ms"),  # open while it serves
    time_column("first_value"),  # the counter in its point's unit as the binding began, when known
    time_column("first_ms"),  # when it was read
    time_column("last_value"),  # the same as it ended
    time_column("last_ms"),
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
    text_column("serial"),  # of the certificate, hexadecimal
    Column("issued_ms", BigInteger, nullable=False),
    time_column("expires_ms"),
    time_column("revoked_ms"),
    time_column("evicted_ms"),  # when the broker had surely ended its sessions
    Column("actor", Text, nullable=False),
)
