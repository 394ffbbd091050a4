"""The ledger's schema, step by step; run by `open_ledger` inside one transaction."""
