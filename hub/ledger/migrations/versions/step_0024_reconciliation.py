"""Bills, results of days, and differences with owner and end; orders are found by when they came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the tables; the differences of before were never used."""
    op.create_index("ix_orders_received", "orders", ["platform", "received_ms"])
    _bills()
    op.create_table(
        "reconciliations",
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("platform", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        _text("bill"),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("tallies", sa.Text, nullable=False),
        sa.Column("pending", sa.Integer, nullable=False),
    )
    op.drop_table("differences")
    _differences()


def _bills() -> None:
    op.create_table(
        "bills",
        sa.Column("platform", sa.Text, primary_key=True),
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("lines", sa.Integer, nullable=False),
        sa.Column("taken_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "bill_lines",
        sa.Column("platform", sa.Text, primary_key=True),
        sa.Column("number", sa.Text, primary_key=True),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("amount_fen", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("paid_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_bill_lines_day", "bill_lines", ["platform", "day"])


def _differences() -> None:
    op.create_table(
        "differences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in ("billed", "ordered", "credited", "counted")),
        _text("detail"),
        sa.Column("found_ms", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        _text("ended_by"),
        _text("resolution"),
        sa.UniqueConstraint(
            "day", "platform", "level", "subject", "finding", name="uq_differences"
        ),
    )
    op.create_index("ix_differences_ended", "differences", ["ended_ms", "day"])
