"""What every table is made of: the one metadata, and columns that recur."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Text

metadata = MetaData()


def text_column(name: str) -> Column[str]:
    """A text that is empty where nothing is said."""
    return Column(name, Text, nullable=False, server_default="")


def time_column(name: str) -> Column[int]:
    """A moment that may not have come yet, or a number nobody knows."""
    return Column(name, BigInteger)
