"""What makers' devices really send, after their manuals and public captures, to put values into.

A product listed here fills only the fields its real messages have; one that is not, such as a device of
our own convention, gets a document grown from its profile's paths.
Sources: aioshelly's fixture of SNSW-001P16EU (commit ea7a88f) and shelly-api-docs; tasmota/docs (commit
9849ab9); Zhenshi's MQTT envelope as public integrations describe it.
"""

from __future__ import annotations

from dataclasses import dataclass

_PICTURE = (
    "/9j/4AAQSkZJRgABAQEASABIAAD" + "A" * 2000
)  # the beginning of a JPEG in base64, and filling


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A message as JSON text, `{address}` for the device's; `partial` ones hold only what changed."""

    text: str
    partial: bool = False


DOCUMENTS: dict[tuple[str, str], Document] = {
    ("shelly_plus1pm", "status"): Document(
        text="""{"id":0,"source":"init","output":true,"apower":0.0,"voltage":0.0,"freq":50.0,
        "current":0.0,"pf":0.0,"aenergy":{"total":0.0,"by_minute":[0.0,0.0,0.0],"minute_ts":0},
        "temperature":{"tC":0.0,"tF":0.0}}"""
    ),
    ("shelly_plus1pm", "events"): Document(
        text="""{"src":"{address}","dst":"{address}/events","method":"NotifyStatus",
        "params":{"ts":0.0,"switch:0":{"id":0,"source":"init","output":true,"apower":0.0,
        "voltage":0.0,"freq":50.0,"current":0.0,"pf":0.0,
        "aenergy":{"total":0.0,"by_minute":[0.0,0.0,0.0],"minute_ts":0}}}}""",
        partial=True,
    ),
    ("tasmota_plug", "sensor"): Document(
        text="""{"Time":"","ENERGY":{"TotalStartTime":"","Total":0.0,"Yesterday":0.0,"Today":0.0,
        "Period":0,"Power":0,"ApparentPower":0,"ReactivePower":0,"Factor":0.0,"Voltage":0,
        "Current":0.0}}"""
    ),
    ("zhenshi_lpr", "result"): Document(
        text="""{"id":"","sn":"{address}","name":"ivs_result","version":"1.0","timestamp":0,
        "payload":{"type":"ivs_result","body":{"product_h":{"plate":{"PlateResult":{"license":"",
        "confidence":0,"colorType":0,"type":0,"direction":0,"triggerType":1,"plateid":0,
        "unique_id":"","isoffline":false,"is_fake_plate":false,
        "timeStamp":{"Timeval":{"sec":0,"usec":0}}}}},"full_image_content":"PICTURE",
        "small_image_content":"PICTURE"}}}""".replace("PICTURE", _PICTURE)
    ),
    ("zhenshi_lpr", "alive"): Document(
        text="""{"id":"","sn":"{address}","name":"keep_alive","version":"1.0","timestamp":0,
        "payload":{"type":"keep_alive","body":{}}}"""
    ),
}
