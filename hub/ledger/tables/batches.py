"""What is told to many rooms at once: each batch, and one row for each thing it was to do."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from hub.ledger.tables.columns import metadata, text_column, time_column

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),  # Clock.new_id
    # Its owner's name, a line break, and the owner's own key: unique for each owner, kept for ever.
    Column("key", Text, nullable=False, unique=True),
    Column("body_hash", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("scope", Text, nullable=False),
    text_column("building"),  # where all of it is in one; else empty
    Column("actor", Text, nullable=False),
    text_column("cause"),
    Column("pause_ms", Integer, nullable=False),  # from one to the next
    Column("state", Text, nullable=False),
    text_column("reason"),
    text_column("approver"),
    Column("created_ms", BigInteger, nullable=False),
    time_column("begun_ms"),
    Column("expires_ms", BigInteger, nullable=False),  # of the approval, then of the whole run
    time_column("finished_ms"),
    Index("ix_batches_finished", "finished_ms"),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch", Text, ForeignKey("batches.id"), primary_key=True),
    Column("place", Integer, primary_key=True),  # from 0, in the order in which they are told
    text_column("device"),  # whom to tell, or
    text_column("account"),  # whom to give
    text_column("building"),
    text_column("floor"),
    text_column("room"),
    Column("state", Text, nullable=False),
    text_column("reason"),
    text_column("command"),  # its id in commands
    Column("changed_ms", BigInteger, nullable=False),
    Index("ix_batch_items_state", "batch", "state", "place"),
)
