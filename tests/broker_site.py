"""A real Mosquitto that runs the files the hub writes, and clients that tell what they really got."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt

from hub import Device, Link, Place, SystemClock, load_profiles
from hub.broker import Broker, Kind, Secret, hub_password
from hub.broker.broker import BROKER_FOLDER
from hub.broker.door import knock
from hub.broker.passwords import password_hash
from hub.config import BrokerConfig
from hub.ledger import Ledger, open_ledger
from tests.servers import Server, find_program, free_port, running

CLOCK = SystemClock(seed=1)
PROFILES = load_profiles()
MARKER = "end-of-test"


def washer(name: str) -> Device:
    profile = PROFILES.get("generic_washer", {}, place="test")
    return Device(id=name, profile=profile, link="mqtt", address=name, place=Place(building="B1"))


def link_of(*devices: Device) -> Link:
    return Link(
        id="mqtt", driver="mqtt", settings={"host": "127.0.0.1"}, devices=devices, source="site"
    )


@dataclass(kw_only=True)
class BrokerSite:
    """The hub's part that guards the broker, the broker, and where both keep their files."""

    broker: Broker
    ledger: Ledger
    config: BrokerConfig
    data: Path
    server: Server
    secrets: dict[tuple[str, Kind], Secret] = field(default_factory=dict)

    @property
    def password(self) -> str:
        return hub_password(self.data / BROKER_FOLDER)

    async def issue(self, kind: Kind, *devices: str) -> None:
        """Credentials for these devices, which the broker knows when this returns."""
        issued = await self.broker.credentials.issue(devices, kind, "test")
        self.keep(issued.secrets)
        await self.loaded()

    def keep(self, secrets: Sequence[Secret]) -> None:
        for secret in secrets:
            self.secrets[secret.device, secret.kind] = secret
            if secret.kind is Kind.CERTIFICATE:
                (self.data / f"{secret.device}.pem").write_text(secret.certificate + secret.key)

    async def loaded(self) -> None:
        """Synchronise, and return when the broker runs the files."""
        await self.broker.synchronise()
        assert self.broker.reason == ""
        mosquitto = self.broker._mosquitto
        assert mosquitto is not None
        async with asyncio.timeout(10):
            while not await mosquitto.loaded():
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def spy(self) -> AsyncIterator[aiomqtt.Client]:
        """One who may hear and say everything, entered beside the hub's files: the judge of all."""
        files = self.config.folder
        assert files is not None
        for name, line in (
            ("acl", "\nuser spy\ntopic readwrite #\n"),
            ("passwords", f"spy:{password_hash('spy')}\n"),
        ):
            with (files / name).open("a") as file:
                file.write(line)
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10):
            while not await knock(self.config.hub_port, "knock", "spy", "spy"):
                await asyncio.sleep(0.05)
        async with self.client(
            self.config.hub_port, "spy", username="spy", password="spy"
        ) as client:
            await client.subscribe("#", qos=1)
            yield client

    def context(self, device: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.data / BROKER_FOLDER / "ca.crt")
        if device:
            context.load_cert_chain(self.data / f"{device}.pem")
        return context

    def hub(self, identifier: str = "hub", **options: object) -> aiomqtt.Client:
        return self.client(
            self.config.hub_port,
            identifier,
            username="dormhub-hub",
            password=self.password,
            **options,
        )

    def device(
        self, name: str, kind: Kind, identifier: str = "", **options: object
    ) -> aiomqtt.Client:
        """A client with this device's credential."""
        secret = self.secrets[name, kind]
        if kind is Kind.CERTIFICATE:
            return self.client(
                self.config.certificate_port,
                identifier or name,
                tls_context=self.context(name),
                **options,
            )
        return self.client(
            self.config.password_port,
            identifier or name,
            tls_context=self.context(),
            username=secret.username,
            password=secret.password,
            **options,
        )

    def client(self, port: int, identifier: str, **options: object) -> aiomqtt.Client:
        given = {"protocol": aiomqtt.ProtocolVersion.V5, "timeout": 5.0} | options
        return aiomqtt.Client("localhost", port, identifier=identifier, **given)  # type: ignore[arg-type]


async def heard(client: aiomqtt.Client) -> list[str]:
    """Topics of what came until the marker, which is published after everything else."""
    topics: list[str] = []
    async with asyncio.timeout(10):
        async for message in client.messages:
            if message.payload == MARKER.encode():
                return topics
            topics.append(f"{message.topic}")
    return topics


@asynccontextmanager
async def broker_site(folder: Path, *devices: str) -> AsyncIterator[BrokerSite]:
    """Washers of these names, a ledger and a Mosquitto that runs what the hub writes; no credentials yet."""
    files = folder / "files"
    files.mkdir(parents=True)
    config = BrokerConfig(
        folder=files,
        pid_file=folder / "mosquitto.pid",
        hub_port=free_port(),
        certificate_port=free_port(),
        password_port=free_port(),
    )
    async with open_ledger(folder / "ledger.db", clock=CLOCK) as ledger:
        broker = Broker(ledger=ledger, clock=CLOCK, data=folder, config=config)
        broker.configure([link_of(*map(washer, devices))])
        await broker.renew_hub("test")
        assert broker.reason == ""
        with running(guarded_server(folder, config)) as server:
            yield BrokerSite(
                broker=broker, ledger=ledger, config=config, data=folder, server=server
            )


def guarded_server(folder: Path, config: BrokerConfig) -> Server:
    """Mosquitto as Debian starts it: a main file of its own that includes ours."""
    main = folder / "mosquitto.conf"
    main.write_text(
        f"user root\npid_file {config.pid_file}\npersistence true\n"
        f"persistence_location {folder}/\nlog_type all\ninclude_dir {config.folder}\n"
    )
    command = [find_program("mosquitto"), "-c", str(main)]
    return Server(command=command, port=config.hub_port, folder=folder)
