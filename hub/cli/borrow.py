"""A link's wire for us alone: lent by the hub where one runs, and simply ours where none does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from hub.cli.hub_client import Answered, HubClient, hub_runs
from hub.config import load_config
from hub.errors import ConfigError, HubError
from hub.inventory.installed import running_site
from hub.model import Link
from hub.scanner import Search, open_scanner

LEASE_S = 15
RENEW_S = 5.0
_PORT = "502"  # of Modbus, where a link names none


class LeaseRow(msgspec.Struct, frozen=True):
    """A lease as the hub gives it."""

    lease: str


@asynccontextmanager
async def borrowed(config: Path, link: Link, *, force: bool, cause: str) -> AsyncIterator[None]:
    """While the block runs nobody else uses this link.

    Nothing needs to be lent where no hub runs, of a link the hub does not know (yet), and of one whose
    devices can be asked by several at once, such as a broker. Raises HubError when the hub does not lend
    it, or drives the same wire under another link's name. The block is cancelled, and HubError raised, as
    soon as the hub does not go on with the lease: then its own driver may be at work.
    """
    if not (has_one_wire(link) and hub_runs(config)):
        yield
        return
    ledger = load_config(config).ledger_place()
    running = await asyncio.to_thread(running_site, ledger, config)
    other = same_wire(link, running.links)
    if other is not None:
        raise HubError(
            f"{link.id} is the wire of {other.id}, which the hub runs: two who ask at once garble each "
            f"other. Say {other.id}, or `dormhub apply` the files first"
        )
    path = f"/v1/links/{link.id}/lend"
    with HubClient(config) as hub:
        wish = {"seconds": LEASE_S, "force": force, "cause": cause}
        try:
            lease = (await asyncio.to_thread(hub.post, path, LeaseRow, wish)).lease
        except Answered as error:
            if error.kind != "not-found":
                raise
            yield
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(_renew(hub, path, lease), name=f"lease of {link.id}")
                yield
                renewing.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            with suppress(HubError):  # it is over already, or ends by itself
                hub.delete(path, {"lease": lease})


def has_one_wire(link: Link) -> bool:
    """Whether two who use this link at once garble each other: then its driver can scan it."""
    try:
        open_scanner(link, (), Search(own_way=True))
    except ConfigError:
        return False
    return True


def same_wire(link: Link, running: Iterable[Link]) -> Link | None:
    """The first of these links, other than itself, that has its serial port, or its host and port."""
    ours = _endpoint(link)
    for other in running:
        if other.id != link.id and other.driver == link.driver and _endpoint(other) == ours:
            return other
    return None


def _endpoint(link: Link) -> tuple[str, str]:
    """Where a link's wire begins on this box: the words are those of every driver that has one wire."""
    said = {name: str(value) for name, value in link.settings.items()}
    if said.get("device") and not said.get("host"):
        return "", str(Path(said["device"]).resolve())  # by-id names are links to the port
    host = said.get("host", "").casefold().rstrip(".")
    return "127.0.0.1" if host == "localhost" else host, said.get("port", _PORT)


def must_not_visit(link: Link) -> HubError | None:
    """Why a running hub that does not answer must not be gone round; None where many may ask at once."""
    if not has_one_wire(link):
        return None
    return HubError(
        f"the hub runs, but its API does not answer, and {link.id} is one wire: two who ask at once "
        "garble each other. Set [api] listen in hub.toml, or stop the hub first"
    )


async def _renew(hub: HubClient, path: str, lease: str) -> None:
    """Go on with the lease until cancelled; one refusal ends it."""
    wish = {"seconds": LEASE_S, "lease": lease}
    while True:
        await asyncio.sleep(RENEW_S)
        await asyncio.to_thread(hub.post, path, LeaseRow, wish)
