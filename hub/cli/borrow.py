"""A link's wire for us alone: lent by the hub where one runs, and simply ours where none does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from hub.cli.hub_client import HubClient, hub_runs
from hub.errors import HubError

LEASE_S = 15
RENEW_S = 5.0


class LeaseRow(msgspec.Struct, frozen=True):
    """A lease as the hub gives it."""

    lease: str


@asynccontextmanager
async def borrowed(config: Path, link: str, *, force: bool, cause: str) -> AsyncIterator[None]:
    """While the block runs nobody else uses this link.

    Raises HubError when the hub does not lend it. The block is cancelled, and HubError raised, as soon as
    the hub does not go on with the lease: then its own driver may be at work.
    """
    if not hub_runs(config):
        yield
        return
    path = f"/v1/links/{link}/lend"
    with HubClient(config) as hub:
        wish = {"seconds": LEASE_S, "force": force, "cause": cause}
        lease = (await asyncio.to_thread(hub.post, path, LeaseRow, wish)).lease
        try:
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(_renew(hub, path, lease), name=f"lease of {link}")
                yield
                renewing.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            with suppress(HubError):  # it is over already, or ends by itself
                hub.delete(path, {"lease": lease})


async def _renew(hub: HubClient, path: str, lease: str) -> None:
    """Go on with the lease until cancelled; one refusal ends it."""
    wish = {"seconds": LEASE_S, "lease": lease}
    while True:
        await asyncio.sleep(RENEW_S)
        await asyncio.to_thread(hub.post, path, LeaseRow, wish)
