"""From a gate's event to the order that opens it, both on disk before the wire: p50, p99, worst.

Ten turnstiles in a process of their own tell that a card was shown, one each 50 ms, and take the time until
their `open` arrives over a real Mosquitto. In between runs the hub as it is: driver, journal on disk,
a rule that orders, ledger on disk (queued, then sent), dispatch, driver. The peer in the same run is bare
aiomqtt that opens at once and writes nothing: what the broker and two processes cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import queue
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import aiomqtt
import structlog
import uvloop
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.mqtt import start_broker
from hub import Device, Link, Priority, Reading, SystemClock, load_profiles
from hub.commands import Order
from hub.control import Control
from hub.ingest import Ingest
from hub.journal import open_journal
from hub.ledger import open_ledger
from hub.safety_rules import SafetyRules
from hub.supervisor import Supervisor

GATES = 10
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
GOAL_MS = 50.0
PERIOD_S = 0.05
OPEN = b'{"state":"opening_in"}'
LOST_S = 5.0
UP, DOWN = "dormhub/up/gate-{}/{}", "dormhub/down/+/command"


def shows_cards(port: int, events: int, word: Connection) -> None:
    """Runs in its own process: the gates. Sends back how long each opening took, in ms; None: never."""
    opened: queue.Queue[tuple[str, bytes, float]] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="gates")

    def told(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if b"report" in message.payload:  # the hub wants to see what it is not sure of
            client.publish(message.topic.replace("down", "up").replace("command", "state"), OPEN)
        else:
            opened.put((message.topic, bytes(message.payload), time.monotonic()))

    client.on_message = told
    client.on_socket_open = lambda _client, _data, sock: _no_delay(sock)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe(DOWN, qos=1)
    word.recv()
    word.send([_one_card(client, number, opened) for number in range(events)])
    client.disconnect()
    client.loop_stop()


def _no_delay(sock: object) -> None:
    assert isinstance(sock, socket.socket)
    sock.setsockopt(*NO_DELAY)


def _one_card(
    client: paho.Client, number: int, opened: queue.Queue[tuple[str, bytes, float]]
) -> float | None:
    gate = number % GATES
    client.publish(UP.format(gate, "state"), b'{"state":"closed"}', qos=1)
    time.sleep(PERIOD_S)
    told = {"ts": time.time(), "seq": number, "type": "button_open", "direction": "in"}
    begun_s = time.monotonic()
    client.publish(UP.format(gate, "event"), json.dumps(told), qos=1)
    while time.monotonic() - begun_s < LOST_S:
        with suppress(queue.Empty):
            topic, payload, at_s = opened.get(timeout=LOST_S)
            if b"open" in payload and f"/gate-{gate}/" in topic:
                _obey(client, gate, payload)
                return 1000 * (at_s - begun_s)
    return None


def _obey(client: paho.Client, gate: int, payload: bytes) -> None:
    body = json.loads(json.loads(payload)["body"])
    result = json.dumps({"id": body["id"], "code": "done"})
    client.publish(UP.format(gate, "result"), result, qos=1)
    client.publish(UP.format(gate, "state"), OPEN, qos=1)


def link_of(port: int) -> Link:
    """A broker with ten turnstiles."""
    profile = load_profiles().example("generic_turnstile")
    devices = tuple(
        Device(id=f"gate-{number}", profile=profile, link="broker", address=f"gate-{number}")
        for number in range(GATES)
    )
    settings = {"host": "127.0.0.1", "port": port, "rate_per_s": 1000.0, "burst": 100_000}
    return Link(id="broker", driver="mqtt", settings=settings, devices=devices)


async def open_with_hub(
    port: int, folder: Path, go: Callable[[], Coroutine[None, None, None]]
) -> None:
    """The hub's own parts, wired as the daemon wires them, and a rule: a button opens."""
    clock, link = SystemClock(), link_of(port)
    async with (
        open_journal(folder / "journal.db", clock=clock) as journal,
        open_ledger(folder / "ledger.db", clock=clock) as ledger,
        asyncio.TaskGroup() as tasks,
    ):

        def stored(readings: Sequence[Reading]) -> None:
            control.stored(readings)
            for reading in readings:
                if reading.values.get("gate_event") == "button_open":
                    tasks.create_task(order(reading), name="rule")

        async def order(reading: Reading) -> None:
            await control.commands.submit(
                Order(
                    device=reading.device,
                    name="open",
                    arguments={"direction": "in", "count": 1},
                    actor="rule",
                    cause="button",
                    key=f"{reading.device} {reading.time_ms}",
                    priority=Priority.SAFETY,
                )
            )

        ingest = Ingest(
            store=journal,
            clock=clock,
            report=lambda change: None,
            count=lambda name, reason: print(f"  refused: {reason}"),
            stored=stored,
        )
        ingest.configure(link.devices, [link.id])
        supervisor = Supervisor(ingest=ingest, clock=clock, tasks=tasks)
        control = Control(ledger=ledger, clock=clock, presence=ingest.presence, wire=supervisor)
        control.configure([link], SafetyRules(brake_percent=100.0, rate_per_minute=600))
        await supervisor.apply([link])
        serving = await control.start(tasks)
        await go()
        for task in serving:
            task.cancel()
        await supervisor.stop()


async def open_with_aiomqtt(port: int, go: Callable[[], Coroutine[None, None, None]]) -> None:
    """The peer: opens as soon as it hears, and forgets."""

    async def opens(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            gate = str(message.topic).split("/")[2]
            body = json.dumps({"body": json.dumps({"id": "x", "command": "open"})})
            await client.publish(f"dormhub/down/{gate}/command", body, qos=1)

    async with aiomqtt.Client(
        "127.0.0.1", port, identifier="peer", socket_options=[NO_DELAY]
    ) as client:
        await client.subscribe("dormhub/up/+/event", qos=1)
        task = asyncio.create_task(opens(client), name="peer")
        await go()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def measure(events: int, *, peer: bool) -> list[float | None]:
    """One way of opening, with a broker, gates and a folder of its own."""
    ours, theirs = multiprocessing.Pipe()
    taken: list[float | None] = []

    async def go() -> None:
        await asyncio.sleep(4)  # both connections stand, and the look for retained commands is over
        ours.send("go")
        while not ours.poll():
            await asyncio.sleep(0.1)
        taken.extend(ours.recv())

    with tempfile.TemporaryDirectory() as text:
        broker, port = start_broker(Path(text))
        gates = multiprocessing.get_context("spawn").Process(
            target=shows_cards, args=(port, events, theirs)
        )
        gates.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(
                    open_with_aiomqtt(port, go) if peer else open_with_hub(port, Path(text), go)
                )
        finally:
            gates.terminate()
            gates.join()
            broker.terminate()
            broker.wait()
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="200 events, not 2,000")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    events = 200 if parser.parse_args().short else 2_000
    print(f"{events:,} events of {GATES} gates, until the open arrives there\n")
    print(f"{'':44}{'p50':>9}{'p99':>9}{'worst':>9}{'never':>7}")
    for name, peer in ((PEER, True), (HUB, False)):
        taken = measure(events, peer=peer)
        came = sorted(value for value in taken if value is not None)
        p50, p99 = (came[min(len(came) - 1, int(len(came) * part))] for part in (0.5, 0.99))
        print(
            f"{name:44}{p50:>6.1f} ms{p99:>6.1f} ms{came[-1]:>6.1f} ms{len(taken) - len(came):>7}"
        )
    print(f"\ngoal: p99 at most {GOAL_MS:.0f} ms, event and order on disk before the wire")


PEER = "bare aiomqtt, nothing written"
HUB = "hub, journal and ledger on disk"

if __name__ == "__main__":
    main()
