"""Money and energy, double entry; prices; how far each counter is charged."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from hub.ledger.tables.columns import metadata, text_column, time_column

# Money and energy, double entry. An account is a room's, a platform's, or one of the house's own.
accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),  # hub/campus/accounts/accounts.py names them
    Column("kind", Text, nullable=False),
    text_column("building"),
    text_column("room"),
    text_column("utility"),
    Column("opened_ms", BigInteger, nullable=False),
    time_column("closed_ms"),
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
    text_column("cause"),
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
    Column("rated_w", BigInteger, nullable=False),  # most in an hour, also of ml; 0: not known
    Column("rollover", BigInteger, nullable=False),  # 0: it never begins anew by itself
    Column("counter", BigInteger, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("rest", BigInteger, nullable=False),  # millionths of a fen not charged yet
    text_column("held"),  # why nothing is charged now: a fallen counter, a jump
)
