"""Alembic's door: runs the steps on the connection, and in the transaction, of `open_ledger`."""

from __future__ import annotations

from alembic import context

from hub.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
