"""The ledger: commands, approvals, latches, keys and audit; rows that are never lost."""

from hub.ledger.books import open_reader
from hub.ledger.ledger import Ledger, LedgerStats, open_ledger

__all__ = ["Ledger", "LedgerStats", "open_ledger", "open_reader"]
