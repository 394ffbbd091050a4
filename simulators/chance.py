"""Chance that can be repeated: each draw is a function of a seed and a number, not of earlier draws."""

from __future__ import annotations

from hashlib import blake2b

_MASK = 2**64 - 1


def seed_of(*parts: object) -> int:
    """64 bits that stand for these parts (a campus seed, a device, a purpose), alike on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def draw(seed: int, number: int) -> float:
    """The `number`-th draw of this seed, in [0, 1); any draw may be asked for at any time, in any order."""
    mixed = (seed + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ mixed >> 31) >> 11) / 2**53


def between(seed: int, number: int, lowest: float, highest: float) -> float:
    """A draw spread evenly from `lowest` to `highest`."""
    return lowest + draw(seed, number) * (highest - lowest)
