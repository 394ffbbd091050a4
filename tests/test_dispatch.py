"""Commands on their way, judged by the devices' own ledgers; on virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub import State
from tests.command_bench import Hub, Site, on_virtual_time
from tests.scripted_device import Behaviour

B = Behaviour
VERIFY, SAFE, NEVER = "cut", "light", "open"


# A device that behaves so at every try: the state its command ends in, and how often it really did it.
TABLE = [
    (B.WORKS, VERIFY, State.CONFIRMED, 1),
    (B.WORKS, SAFE, State.CONFIRMED, 1),
    (B.WORKS, NEVER, State.CONFIRMED, 1),
    (B.SILENT, VERIFY, State.FAILED, 0),
    (B.SILENT, SAFE, State.FAILED, 0),
    (B.SILENT, NEVER, State.UNKNOWN, 0),
    (B.LIES, VERIFY, State.FAILED, 0),
    (B.LIES, SAFE, State.FAILED, 0),
    (B.LIES, NEVER, State.UNKNOWN, 0),
    (B.MUTE, VERIFY, State.CONFIRMED, 1),
    (B.MUTE, SAFE, State.CONFIRMED, 1),
    (B.MUTE, NEVER, State.UNKNOWN, 1),
    (B.LATE, VERIFY, State.CONFIRMED, 1),
    (B.LATE, SAFE, State.CONFIRMED, 1),
    (B.LATE, NEVER, State.CONFIRMED, 1),
    (B.TWICE, VERIFY, State.CONFIRMED, 1),
    (B.TWICE, SAFE, State.CONFIRMED, 1),
    (B.TWICE, NEVER, State.CONFIRMED, 1),
    (B.FOREIGN, VERIFY, State.CONFIRMED, 1),
    (B.FOREIGN, SAFE, State.CONFIRMED, 1),
    (B.FOREIGN, NEVER, State.UNKNOWN, 1),
    (B.SLOW, VERIFY, State.CONFIRMED, 1),
    (B.SLOW, SAFE, State.CONFIRMED, 1),
    (B.SLOW, NEVER, State.CONFIRMED, 1),
    (B.REFUSES, VERIFY, State.REFUSED, 0),
    (B.REFUSES, SAFE, State.REFUSED, 0),
    (B.REFUSES, NEVER, State.REFUSED, 0),
    (B.AWAY, VERIFY, State.EXPIRED, 0),
    (B.AWAY, SAFE, State.EXPIRED, 0),
    (B.AWAY, NEVER, State.EXPIRED, 0),
]


@pytest.mark.parametrize(("behaviour", "name", "state", "effects"), TABLE)
def test_each_behaviour_under_each_policy_ends_as_the_devices_ledger_says(
    tmp_path: Path, behaviour: Behaviour, name: str, state: State, effects: int
) -> None:
    site = Site(tmp_path)
    machine = site.machines["gate-1"]
    machine.script = [behaviour]

    async def scene(hub: Hub) -> None:
        record = await hub.end(await hub.send("gate-1", name))
        assert (record.state, len(machine.effects)) == (state, effects)

    on_virtual_time(site, scene)
