"""Whole shares of a whole: by the largest remainder, so that they add up to the last unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def apportioned(total: int, weights: Mapping[Name, int]) -> dict[Name, int]:
    """`total`, not below 0, in whole shares by weights that are not below 0; equal ones if all are 0.

    The shares add up to `total` exactly, none is a unit or more off its exact part, and who weighs more never
    gets less. Equal remainders go by name.
    """
    if total < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("neither a whole nor a weight is below 0")
    if not weights:
        return {}
    whole = sum(weights.values())
    known = weights if whole else dict.fromkeys(weights, 1)
    whole = whole or len(weights)
    shares = {name: total * weight // whole for name, weight in known.items()}
    left = total - sum(shares.values())
    by_rest = sorted(known, key=lambda name: (-(total * known[name] % whole), name))
    for name in by_rest[:left]:
        shares[name] += 1
    return shares
