"""The audit, and the keys of the API."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from hub.ledger.tables.columns import metadata, text_column, time_column

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("time_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    text_column("cause"),
    Column("subject", Text, nullable=False),
    Column("action", Text, nullable=False),
    text_column("before"),
    text_column("after"),
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
    text_column("maker"),  # the actor who made it
    Column("created_ms", BigInteger, nullable=False),
    time_column("expires_ms"),
    time_column("revoked_ms"),
    time_column("last_used_ms"),
)
