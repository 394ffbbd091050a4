"""Paid orders, and what the platforms must be told."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from hub.ledger.tables.columns import metadata, text_column, time_column

orders = Table(
    "orders",
    metadata,
    Column("id", Text, primary_key=True),  # Clock.new_id
    Column("platform", Text, nullable=False),
    Column("number", Text, nullable=False),  # the platform's; with it unique for ever
    Column("body_hash", Text, nullable=False),
    Column("account", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    text_column("device"),
    Column("amount_fen", BigInteger, nullable=False),
    Column("state", Text, nullable=False, index=True),
    text_column("reason"),
    text_column("command"),  # the credit's id in commands
    Column("received_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    text_column("source"),  # the account that pays, where it is not the platform's
    UniqueConstraint("platform", "number", name="uq_orders_number"),
    Index("ix_orders_device", "device", "state"),
    Index("ix_orders_received", "platform", "received_ms"),
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
    time_column("done_ms"),
    text_column("error"),
    Index("ix_outbox_next", "done_ms", "next_ms"),
)
