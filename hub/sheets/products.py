"""Which profile the product of a row is: by its id, its printed name, or the model on its plate."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hub.profile import Profile
from hub.profile_file import ProfileLibrary
from hub.sheets.columns import word
from hub.sheets.sheet import shown

_NEAR = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class NoProduct:
    """Why a text names no profile."""

    found: str
    hint: str


class Products:
    """Every profile by the words that mean it."""

    def __init__(self, library: ProfileLibrary) -> None:
        self._profiles = [library.example(name) for name in library.ids()]
        self._meant: dict[str, dict[str, Profile]] = {}
        for profile in self._profiles:
            for name in _names(profile):
                self._meant.setdefault(word(name), {})[profile.id] = profile

    def find(self, text: str) -> str | NoProduct:
        """The id of the profile that is meant."""
        for name in (word(text), _model(text)):
            profiles = self._meant.get(name, {})
            if len(profiles) == 1:
                return next(iter(profiles))
            if profiles:
                found = f"{shown(text)} may be several products"
                return NoProduct(found=found, hint="write one of " + _listed(profiles.values()))
        found = f"no product {shown(text)}" if text else "nothing"
        return NoProduct(found=found, hint="nearest: " + _listed(self._nearest(text)))

    def _nearest(self, text: str) -> list[Profile]:
        likeness = difflib.SequenceMatcher(autojunk=False)
        likeness.set_seq2(word(text[:100]))

        def alike(profile: Profile) -> float:
            ratios = []
            for name in _names(profile):
                likeness.set_seq1(word(name))
                ratios.append(likeness.ratio())
            return max(ratios)

        return sorted(self._profiles, key=alike, reverse=True)[:_NEAR]


def _names(profile: Profile) -> Iterator[str]:
    plain = profile.name.partition("(")[0]
    yield from (profile.id, profile.name, plain, profile.id.partition("_")[2] or profile.id)
    for part in plain.split():
        if _is_model(part):
            yield part


def _model(text: str) -> str:
    """What is left of 正泰DDSU666单相电表 when only letters and digits count; empty when that is no model."""
    part = "".join(re.findall(r"[a-z0-9]", word(text)))
    return part if _is_model(part) else ""


def _is_model(text: str) -> bool:
    return bool(re.search(r"[A-Za-z]", text) and re.search(r"\d", text))


def _listed(profiles: Iterable[Profile]) -> str:
    return ", ".join(
        f"{profile.id} ({profile.name.partition('(')[0].strip()})" for profile in profiles
    )
