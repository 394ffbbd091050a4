"""Whether the broker's files, the ledger and the site agree; for whoever examines an installation."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from hub.broker import rows
from hub.broker.authority import CA_CERTIFICATE, open_authority
from hub.broker.broker import BROKER_FOLDER, access_of
from hub.broker.files import MARK, broker_files, differing
from hub.config import HubConfig
from hub.model import Link

_NAMED = 5
_DAY_MS = 86_400_000


def drift(
    connection: Connection, config: HubConfig, links: Sequence[Link], now_ms: int
) -> list[str]:
    """What in the broker's folder is not as this ledger and these links have it, in words for a person.

    Empty when all is in step, or no folder is configured. Writes nothing. Raises ConfigError and OSError.
    """
    folder, own = config.broker.folder, config.data / BROKER_FOLDER
    if folder is None:
        return []
    if not (own / CA_CERTIFICATE).exists():
        return [f"{own} holds no authority yet: start the hub"]
    standing = rows.standing(connection)
    authority = open_authority(own, now_ms)
    access = access_of(links)
    files = broker_files(config.broker, authority, own, standing, access)
    wrong = [
        f"{folder / name} is not what ledger and site say; the running hub writes it anew"
        for name in differing(folder, files)
        if name != MARK
    ]
    pending = sorted(set(rows.not_evicted(connection).values()))
    if pending:
        wrong.append(f"revoked and perhaps still connected: {_names(pending)}")
    lost = sorted(rows.holders(connection) - access.devices.keys())
    if lost:
        wrong.append(f"credentials of devices that are not installed: {_names(lost)}")
    return wrong


def ending_soon(connection: Connection, now_ms: int, *, days: int = 30) -> list[str]:
    """Which certificates of devices end within so many days, in words for a person.

    The broker's own certificate is not among them: the running hub renews it. What ends because it was
    replaced is not either.
    """
    found = rows.last_ends(connection)
    limit_ms = now_ms + days * _DAY_MS
    ending = sorted(device for device, ends_ms in found.items() if ends_ms < limit_ms)
    if not ending:
        return []
    hint = "dormhub credentials rotate --kind certificate"
    return [f"certificates end within {days} days: {_names(ending)}: {hint}"]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
