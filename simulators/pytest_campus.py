"""A simulated campus for the tests of a site or of a driver's author: a pytest plug-in.

    async def test_my_building_is_read(campus: CampusFactory) -> None:
        async with campus(Path("config")) as town:
            driver = open_driver(town.reachable().links[0])   # its settings lead to the simulated bus
            …
            shown = town.ledger.last("b1-101", Deed.ANSWERED).values

Needs no options, adds none, and imports nothing of the simulators until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from simulators.campus import Campus, Play

CampusFactory: TypeAlias = "Callable[..., AbstractAsyncContextManager[Campus]]"

pytest.register_assert_rewrite("simulators.contract_driver", "simulators.contract_sink")


def _start(
    folder: Path, *, play: Play | None = None, broker: str = ""
) -> AbstractAsyncContextManager[Campus]:
    from hub import load_site
    from simulators.campus import Campus, Play, playing

    usual = Play(here=True, speed=0.0, broker=broker)
    return playing(Campus(load_site(folder), play or usual))


@pytest.fixture
def campus() -> CampusFactory:
    """Starts the campus of a site's folder in this process: `async with campus(folder) as town`.

    Every link is played on this machine, without serial timing unless `play` says otherwise; `broker`
    ("host:port") is where its MQTT devices connect.
    """
    return partial(_start)
