"""Whatever happens in whatever order: nothing is lost or made, and no closed room has money on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.campus.accounts.accounts import BookError, Room, closed_among
from hub.campus.life.closed import money_on_closed
from hub.campus.life.jobs import JobError
from hub.campus.orders.intake import NoRoom
from tests.campus_house import OTHER, ROOM
from tests.room_office import Office, open_office

EVENTS = ("use", "pay", "transfer", "swap", "settle", "read", "reopen")
METER = {ROOM: "m-1", OTHER: "m-2"}
POLICY = "[prepaid]\nallowance_wh = 700\nallowance_moves = true\n"
event = st.tuples(st.sampled_from(EVENTS), st.sampled_from([ROOM, OTHER]))


class Town:
    """Two rooms, their counters, and what happens to them."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._shown: Counter[Room] = Counter()

    async def happens(self, what: str, room: Room) -> None:
        """One event; what cannot be now is refused and changes nothing."""
        office, other = self._office, OTHER if room == ROOM else ROOM
        with suppress(JobError, NoRoom, BookError):
            match what:
                case "use":
                    self._shown[room] += 777
                    await office.used(self._shown[room], device=METER[room])
                case "pay":
                    await office.pay(333, room)
                case "transfer" | "swap":
                    await office.transfer(room, other, swap=what == "swap")
                    await office.turn()
                case "settle":
                    await office.settle(room)
                case "read":
                    await office.house.read(self._shown[room], device=METER[room])
                    await office.turn()
                case _:
                    await office.life.reopen(room, "new", "key/fin")

    async def check(self) -> None:
        office = self._office
        assert await office.is_right()
        assert await office.house.ask(money_on_closed) == []
        closed = await office.house.ask(lambda c: closed_among(c, [ROOM.account, OTHER.account]))
        for room in (ROOM, OTHER):
            if room.account in closed:
                assert (await office.fen(room), await office.free(room)) == (0, 0)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=st.lists(event, min_size=4, max_size=14))
def test_any_order_of_events_keeps_the_books_at_nothing_and_closed_rooms_empty(
    events: list[tuple[str, Room]],
) -> None:
    async def play(folder: Path) -> None:
        async with open_office(folder, policy=POLICY) as office:
            town = Town(office)
            for what, room in events:
                await town.happens(what, room)
                await town.check()

    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))
