"""Prepaid rooms: by which rules they are charged for what their counters say, and their allowance."""
