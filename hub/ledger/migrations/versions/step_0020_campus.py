"""Accounts and orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0010"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the tables."""
    _books()
    _metering()
    _orders()


def _books() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        _text("building"),
        _text("room"),
        _text("utility"),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("closed_ms", sa.BigInteger),
    )
    op.create_index("ix_accounts_room", "accounts", ["building", "room"])
    op.create_table(
        "transactions",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("actor", sa.Text, nullable=False),
        _text("cause"),
    )
    op.create_table(
        "postings",
        sa.Column("number", sa.BigInteger, sa.ForeignKey("transactions.number"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_postings_account", "postings", ["account", "number"])
    op.create_table(
        "balances",
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("unit", sa.Text, primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
    )


def _metering() -> None:
    op.create_table(
        "prices",
        sa.Column("utility", sa.Text, primary_key=True),
        sa.Column("building", sa.Text, primary_key=True),
        sa.Column("from_day", sa.Text, primary_key=True),
        sa.Column("rate", sa.BigInteger, nullable=False),
        sa.Column("entered_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "meterings",
        sa.Column("binding", sa.Text, sa.ForeignKey("bindings.id"), primary_key=True),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("point", sa.Text, nullable=False),
        sa.Column("rated_w", sa.BigInteger, nullable=False),
        sa.Column("rollover", sa.BigInteger, nullable=False),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("rest", sa.BigInteger, nullable=False),
        _text("held"),
    )
    op.create_index("ix_meterings_account", "meterings", ["account"])


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        _text("device"),
        sa.Column("amount_fen", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _text("reason"),
        _text("command"),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("deadline_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("platform", "number", name="uq_orders_number"),
    )
    op.create_index("ix_orders_account", "orders", ["account"])
    op.create_index("ix_orders_state", "orders", ["state"])
    op.create_index("ix_orders_device", "orders", ["device", "state"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_ms", sa.BigInteger, nullable=False),
        sa.Column("done_ms", sa.BigInteger),
        _text("error"),
    )
    op.create_index("ix_outbox_order_id", "outbox", ["order_id"])
    op.create_index("ix_outbox_next", "outbox", ["done_ms", "next_ms"])
    op.create_table(
        "differences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("platform_fen", sa.BigInteger),
        sa.Column("order_fen", sa.BigInteger),
        sa.Column("device_fen", sa.BigInteger),
        _text("detail"),
        sa.Column("found_ms", sa.BigInteger, nullable=False),
        _text("owner"),
        sa.Column("ended_ms", sa.BigInteger),
        _text("resolution"),
        sa.UniqueConstraint("day", "subject", "kind", name="uq_differences"),
    )
