"""Devices, latest values and history over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx2
import pytest

from hub import Reading
from hub.auth import Role
from tests.api_site import PLATE, ApiSite, api_site

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BEGIN_MS = 1_795_305_600_000  # midnight UTC


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ApiSite]:
    async with api_site(tmp_path) as made:
        yield made


async def ask(site: ApiSite, path: str, who: str = Role.ADMIN) -> dict[str, object]:
    async with site.client(who) as client:
        response = await client.get(path)
    assert response.status_code == 200, response.text
    return cast(dict[str, object], response.json())


async def names(site: ApiSite, path: str, who: str = Role.ADMIN) -> list[str]:
    answer = await ask(site, path, who)
    return [device["id"] for device in cast(list[dict[str, str]], answer["devices"])]


async def store(site: ApiSite, times: range) -> None:
    await site.parts.journal.append(
        [
            Reading(
                device="meter-1",
                time_ms=time_ms,
                received_ms=time_ms,
                values={"energy_import": time_ms // 1000},
            )
            for time_ms in times
        ]
    )


async def test_devices_come_in_pages_by_id(site: ApiSite) -> None:
    first = await ask(site, "/v1/devices?limit=2")
    assert first["next"] == "meter-1"
    assert await names(site, "/v1/devices?limit=2") == ["camera-1", "meter-1"]
    assert await names(site, "/v1/devices?limit=9&after=meter-1") == [
        "meter-2",
        "meter-3",
        "washer-1",
    ]


async def test_devices_are_chosen_by_place_kind_and_presence(site: ApiSite) -> None:
    await site.publish("meter-2", "bus-1", energy_import=5)
    assert await names(site, "/v1/devices?building=B2") == ["meter-2"]
    assert await names(site, "/v1/devices?presence=online") == ["meter-2"]
    assert await names(site, "/v1/devices?link=broker&room=101") == ["camera-1", "washer-1"]


async def apply(site: ApiSite, more: str) -> None:
    """Have the keeper take a site.toml that says this too."""
    path = site.parts.keeper.site.folder / "site.toml"
    path.write_text(more + path.read_text("utf-8"), "utf-8")
    await site.parts.keeper.apply(prune=False, actor="test")


async def test_a_building_is_chosen_by_its_name_and_its_aliases_too(site: ApiSite) -> None:
    await apply(site, 'buildings.B2.name = "2号楼"\nbuildings.B2.aliases = ["second"]\n')
    for name in ("B2", "2号楼", "second"):
        assert await names(site, f"/v1/devices?building={name}") == ["meter-2"]
    assert await names(site, "/v1/devices?building=third") == []


async def test_the_day_of_the_site_follows_a_zone_that_is_applied(site: ApiSite) -> None:
    await apply(site, 'timezone = "UTC"\n')
    await store(site, range(BEGIN_MS, BEGIN_MS + 3 * DAY_MS, 10 * 60_000))
    path = "/v1/devices/meter-1/history?point=energy_import&every=day"
    page = await ask(site, f"{path}&start_ms={BEGIN_MS}&end_ms={BEGIN_MS + DAY_MS}")
    assert cast(list[dict[str, int]], page["rollups"])[0]["start_ms"] == BEGIN_MS


async def test_a_device_says_what_it_tells_and_takes(site: ApiSite) -> None:
    found = await ask(site, "/v1/devices/meter-1")
    points = cast(list[dict[str, str]], found["points"])
    commands = cast(list[dict[str, object]], found["commands"])
    assert {"name": "energy_import", "unit": "Wh"}.items() <= next(
        point for point in points if point["name"] == "energy_import"
    ).items()
    credit = next(command for command in commands if command["name"] == "credit")
    arguments = cast(list[dict[str, object]], credit["arguments"])
    assert next(argument["unit"] for argument in arguments) == "fen"


async def test_the_latest_values_stand_beside_presence(site: ApiSite) -> None:
    await site.publish("meter-1", "bus-1", energy_import=1234, voltage_l1=231.5)
    one = await ask(site, "/v1/devices/meter-1/latest")
    many = await ask(site, "/v1/latest")
    assert one["values"] == {"energy_import": 1234, "voltage_l1": 231.5}
    assert one["presence"] == "online"
    assert many == {"latest": [one], "next": None}


async def test_a_device_that_never_spoke_has_no_values(site: ApiSite) -> None:
    found = await ask(site, "/v1/devices/meter-1/latest")
    assert (found["values"], found["time_ms"], found["presence"]) == ({}, 0, "unknown")


@pytest.mark.parametrize(
    ("role", "plate"),
    [(Role.ADMIN, PLATE), (Role.OPERATOR, "京A1**5"), (Role.VIEWER, "京A1**5")],
)
async def test_a_plate_is_whole_for_administrators_only(
    site: ApiSite, role: Role, plate: str
) -> None:
    await site.publish("camera-1", "broker", plate=PLATE)
    latest = await ask(site, "/v1/devices/camera-1/latest", role)
    past = await ask(site, "/v1/devices/camera-1/history?point=plate", role)
    assert latest["values"] == {"plate": plate}
    assert past["values"] == [plate]


async def test_history_comes_in_pages_that_leave_nothing_out_and_repeat_nothing(
    site: ApiSite,
) -> None:
    times = range(BEGIN_MS, BEGIN_MS + 3 * DAY_MS, 10 * 60_000)
    await store(site, times)
    base = "/v1/devices/meter-1/history?point=energy_import&limit=100"
    path = f"{base}&start_ms={times[0]}&end_ms={times[-1] + 1}"
    seen, cursor = [], ""
    for _ in range(20):
        page = await ask(site, path + cursor)
        seen += cast(list[int], page["times_ms"])
        cursor = f"&cursor={page['next']}"
        if page["next"] is None:
            break
    assert seen == list(times)


@pytest.mark.parametrize(
    ("every", "number", "begin_ms"),
    [
        ("hour", 24, BEGIN_MS),
        ("day", 1, BEGIN_MS + 16 * HOUR_MS),  # midnight of a site eight hours ahead
    ],
)
async def test_history_is_rolled_up_by_the_hour_and_by_the_day_of_the_site(
    site: ApiSite, every: str, number: int, begin_ms: int
) -> None:
    await store(site, range(BEGIN_MS, BEGIN_MS + 3 * DAY_MS, 10 * 60_000))
    path = f"/v1/devices/meter-1/history?point=energy_import&every={every}"
    page = await ask(site, f"{path}&start_ms={BEGIN_MS}&end_ms={BEGIN_MS + DAY_MS}")
    rollups = cast(list[dict[str, int]], page["rollups"])
    assert [rollups[0]["start_ms"], len(rollups), page["next"]] == [begin_ms, number, None]


async def test_rolled_up_history_comes_in_pages_too(site: ApiSite) -> None:
    await store(site, range(BEGIN_MS, BEGIN_MS + 2 * DAY_MS, 10 * 60_000))
    path = "/v1/devices/meter-1/history?point=energy_import&every=hour&limit=30"
    window = f"&start_ms={BEGIN_MS}&end_ms={BEGIN_MS + 2 * DAY_MS}"
    first = await ask(site, path + window)
    second = await ask(site, f"{path}{window}&cursor={first['next']}")
    starts = [
        rollup["start_ms"]
        for page in (first, second)
        for rollup in cast(list[dict[str, int]], page["rollups"])
    ]
    assert starts == list(range(BEGIN_MS, BEGIN_MS + 2 * DAY_MS, HOUR_MS))
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("point=no_such&start_ms=0", "query.point"),
        ("start_ms=0", "query.point"),
        ("point=energy_import&start_ms=-1", "query.start_ms"),
        ("point=energy_import&start_ms=99999999999999999999", "query.start_ms"),
        ("point=energy_import&start_ms=0&limit=1000000", "query.limit"),
        ("point=energy_import&start_ms=0&every=week", "query.every"),
        ("point=energy_import&start_ms=0&colour=red", "query.colour"),
    ],
)
async def test_a_wrong_question_is_told_which_field_is_wrong(
    site: ApiSite, query: str, field: str
) -> None:
    async with site.client() as client:
        response = await client.get(f"/v1/devices/meter-1/history?{query}")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_a_key_for_one_building_cannot_tell_another_building_from_nothing(
    site: ApiSite,
) -> None:
    await site.publish("meter-1", "bus-1", energy_import=1)
    answers: list[httpx2.Response] = []
    async with site.client("operator of B2") as client:
        for name in ("meter-1", "no-such"):
            base = f"/v1/devices/{name}"
            history = f"{base}/history?point=energy_import&start_ms=0"
            answers += [await client.get(path) for path in (base, f"{base}/latest", history)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


async def test_a_key_for_one_building_sees_its_devices_only(site: ApiSite) -> None:
    await site.publish("meter-1", "bus-1", energy_import=1)
    assert await names(site, "/v1/devices", "operator of B2") == ["meter-2"]
    assert (await ask(site, "/v1/latest", "operator of B2"))["latest"] == []
    alarms = await ask(site, "/v1/alarms", "operator of B2")
    subjects = [alarm["subject"] for alarm in cast(list[dict[str, str]], alarms["alarms"])]
    assert subjects == ["latch/fire", "device/meter-2"]


async def test_alarms_name_fire_links_sinks_and_devices(site: ApiSite) -> None:
    alarms = await ask(site, "/v1/alarms")
    subjects = [alarm["subject"] for alarm in cast(list[dict[str, str]], alarms["alarms"])]
    assert subjects == [
        "latch/fire",
        "device/meter-1",
        "device/meter-2",
        "link/broker",
        "sink/far",
    ]


async def test_metrics_name_no_device_and_no_plate(site: ApiSite) -> None:
    await site.publish("camera-1", "broker", plate=PLATE)
    await ask(site, "/v1/devices/meter-1")
    async with site.client(Role.VIEWER) as client:
        text = (await client.get("/v1/metrics")).text
    assert 'dormhub_link_events_total{event="missed",link="bus-1",reason="timeout"} 5.0' in text
    assert 'route="/v1/devices/{device}"' in text
    assert "camera-1" not in text
    assert "meter-1" not in text
    assert PLATE not in text
