"""The tables of the ledger. A change here needs a step in `migrations/versions`; a test compares the two.

Times are UTC milliseconds, money is whole fen, structured values are canonical JSON text. Plain SQL only,
so that the same tables and statements run on SQLite and on PostgreSQL.
"""

from hub.ledger.tables.accounts import accounts, balances, meterings, postings, prices, transactions
from hub.ledger.tables.alerts import (
    alert_cursors,
    alert_messages,
    alert_mutes,
    alerts,
    room_days,
)
from hub.ledger.tables.batches import batch_items, batches
from hub.ledger.tables.columns import metadata
from hub.ledger.tables.commands import approvals, attempts, commands, frames, latches
from hub.ledger.tables.inventory import bindings, credentials, devices, inventories
from hub.ledger.tables.life import room_jobs, room_steps
from hub.ledger.tables.office import api_keys, audit, audit_head
from hub.ledger.tables.orders import orders, outbox
from hub.ledger.tables.reconciliation import bill_lines, bills, differences, reconciliations
from hub.ledger.tables.supply import supplies, timetables, trips

__all__ = [
    "commands",
    "attempts",
    "frames",
    "approvals",
    "latches",
    "audit",
    "audit_head",
    "api_keys",
    "inventories",
    "devices",
    "bindings",
    "credentials",
    "accounts",
    "transactions",
    "postings",
    "balances",
    "prices",
    "meterings",
    "orders",
    "outbox",
    "bills",
    "bill_lines",
    "reconciliations",
    "differences",
    "alerts",
    "alert_messages",
    "alert_mutes",
    "alert_cursors",
    "room_days",
    "room_jobs",
    "room_steps",
    "supplies",
    "trips",
    "timetables",
    "batches",
    "batch_items",
    "metadata",
]
