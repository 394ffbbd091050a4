"""Protocols: each turns what its devices say into Readings, and knows only the hub's contract."""
