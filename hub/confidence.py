"""How well a fact about a product is known."""

from __future__ import annotations

from enum import StrEnum


class Confidence(StrEnum):
    """How well a fact is known: several sources, one good source, or thin and to be confirmed."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
