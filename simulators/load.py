"""What a dormitory room draws from the grid, as a function of time that can be integrated exactly.

A day has a quiet night, a morning and an evening peak, kettles, and noise in every slot. The noise of
each pair of slots sums to nothing and a kettle is boiled once in each of its hours, so an hour's energy
depends on the hour of the day only: energy at any time is a closed form, whoever asks, and however often.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulators.chance import between, draw, seed_of
from simulators.machine import DAY_MS, EPOCH_MS, HOUR_MS

SLOT_MS = 10_000
_SLOTS = HOUR_MS // SLOT_MS
MWMS_PER_WH = 1000 * HOUR_MS  # milliwatt milliseconds in a watt-hour
_NOISE = 0.15
# Watts of an ordinary room at each full hour: night base, morning, lunch, evening.
_MORNING_W = (60, 45, 40, 38, 38, 45, 110, 190, 120, 80, 75, 95)
_EVENING_W = (150, 120, 85, 80, 90, 130, 210, 280, 320, 330, 260, 130)
_CURVE_W = _MORNING_W + _EVENING_W
_KETTLE_HOURS = (7, 12, 18, 21)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Hour:
    """Base power at the hour's first slot, its growth for each slot, and the kettle's power."""

    first_mw: int
    growth_mw: int
    kettle_mw: int
    kettle_ms: int
    noise_mw: int

    def energy_mwms(self) -> int:
        slots = _SLOTS * self.first_mw + self.growth_mw * (_SLOTS * (_SLOTS - 1) // 2)
        return slots * SLOT_MS + self.kettle_mw * self.kettle_ms


def _hours(seed: int, scale: float) -> tuple[_Hour, ...]:
    levels = [round(watts * scale * 1000 / _SLOTS) * _SLOTS for watts in _CURVE_W]
    kettle_mw = round(between(seed, 1, 1300, 1900)) * 1000
    kettle_ms = round(between(seed, 2, 150, 300)) * 1000
    hours = []
    for hour, level in enumerate(levels):
        following = levels[(hour + 1) % 24]
        boils = hour in _KETTLE_HOURS
        hours.append(
            _Hour(
                first_mw=level,
                growth_mw=(following - level) // _SLOTS,
                kettle_mw=kettle_mw if boils else 0,
                kettle_ms=kettle_ms if boils else 0,
                noise_mw=int(min(level, following) * _NOISE),
            )
        )
    return tuple(hours)


class RoomLoad:
    """One phase of one room: power and energy at any time, from a seed."""

    def __init__(self, seed: int, zone_ms: int) -> None:
        self._seed = seed
        self._zone_ms = zone_ms
        self._hours = _hours(seed, between(seed, 0, 0.5, 1.6))
        before = [0]
        for hour in self._hours:
            before.append(before[-1] + hour.energy_mwms())
        self._before = tuple(before)

    def power_mw(self, now_ms: int) -> int:
        """Milliwatts drawn at this moment."""
        number, into_ms = divmod(now_ms + self._zone_ms, HOUR_MS)
        hour = self._hours[number % 24]
        start_ms = self._kettle_start_ms(number, hour)
        boiling = start_ms <= into_ms < start_ms + hour.kettle_ms
        return self._slot_mw(number, into_ms // SLOT_MS) + (hour.kettle_mw if boiling else 0)

    def energy_mwms(self, now_ms: int) -> int:
        """Milliwatt milliseconds drawn since the epoch: the exact integral of `power_mw`."""
        number, into_ms = divmod(now_ms + self._zone_ms, HOUR_MS)
        days, of_day = divmod(number - EPOCH_MS // DAY_MS * 24, 24)
        hour = self._hours[of_day]
        slots, rest_ms = divmod(into_ms, SLOT_MS)
        whole = slots * hour.first_mw + hour.growth_mw * (slots * (slots - 1) // 2)
        if slots % 2:  # the last whole slot waits for its pair to cancel its noise
            whole += self._noise_mw(number, slots - 1)
        kettle_ms = into_ms - self._kettle_start_ms(number, hour)
        return (
            days * self._before[24]
            + self._before[of_day]
            + whole * SLOT_MS
            + self._slot_mw(number, slots) * rest_ms
            + hour.kettle_mw * min(max(kettle_ms, 0), hour.kettle_ms)
        )

    def _slot_mw(self, number: int, slot: int) -> int:
        hour = self._hours[number % 24]
        return hour.first_mw + hour.growth_mw * slot + self._noise_mw(number, slot)

    def _noise_mw(self, number: int, slot: int) -> int:
        noise = draw(self._seed, number * _SLOTS + slot // 2) * 2 - 1
        size_mw = round(noise * self._hours[number % 24].noise_mw)
        return -size_mw if slot % 2 else size_mw

    def _kettle_start_ms(self, number: int, hour: _Hour) -> int:
        return int(draw(~self._seed & 2**64 - 1, number) * (HOUR_MS - hour.kettle_ms))


def room_loads(seed: int, zone_ms: int, phases: int) -> tuple[RoomLoad, ...]:
    """The loads of a meter's phases, each with its own habits."""
    return tuple(RoomLoad(seed_of(seed, "phase", phase), zone_ms) for phase in range(phases))
