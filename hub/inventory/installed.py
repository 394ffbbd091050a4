"""What is installed, as the ledger has it: the inventory applied last, and every device there ever was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

from sqlalchemy import URL, Connection, func, inspect, select

from hub.errors import ConfigError, StoreDamaged
from hub.ledger import open_reader
from hub.ledger.tables import devices, inventories
from hub.model import Device, Place
from hub.profile_file import ProfileLibrary
from hub.site import Site, load_site, site_of
from hub.site_files import SiteFiles, unpack

_NAMES_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A device as it is installed, in the words of `devices.csv`; no setting that is the product's own."""

    id: str
    profile: str
    link: str
    address: str
    building: str = ""
    floor: str = ""
    room: str = ""
    circuit: str = ""
    period_s: str = ""
    settings: str = ""
    note: str = ""

    def words(self) -> dict[str, object]:
        """Every column by its name."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(building=self.building, floor=self.floor, room=self.room, circuit=self.circuit)


COLUMNS = tuple(item.name for item in fields(Row))


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """The last inventory (number 0: none yet), its files, its devices, and those retired before it, by id."""

    number: int = 0
    time_ms: int = 0
    digest: str = ""
    files: SiteFiles | None = None
    rows: Mapping[str, Row] = field(default_factory=dict)
    retired: Mapping[str, Row] = field(default_factory=dict)


def row_of(device: Device) -> Row:
    """A configured device as a row."""
    profile, place = device.profile, device.place
    said = {
        name: value
        for name, value in sorted(profile.chosen.items())
        if profile.settings[name].required or value != profile.settings[name].default
    }
    return Row(
        id=device.id,
        profile=profile.id,
        link=device.link,
        address=device.address,
        building=place.building,
        floor=place.floor,
        room=place.room,
        circuit=place.circuit,
        period_s="" if device.period_s == profile.period_s else f"{device.period_s:g}",
        settings=";".join(f"{name}={value}" for name, value in said.items()),
        note=device.note,
    )


def read_installed(connection: Connection, folder: Path) -> Installed:
    """What the ledger has; nothing where no inventory was ever applied. Its files stand in `folder`.

    Raises StoreDamaged when the files of the last inventory are not there.
    """
    if not inspect(connection).has_table(inventories.name):
        return Installed()
    newest = select(inventories).order_by(inventories.c.number.desc()).limit(1)
    last = connection.execute(newest).first()
    if last is None:
        return Installed()
    if last.files is None:
        raise StoreDamaged(f"inventory {last.number} has lost its files")
    here: dict[str, Row] = {}
    gone: dict[str, Row] = {}
    columns = [devices.c[name] for name in COLUMNS]
    for *words, retired_ms in connection.execute(select(*columns, devices.c.retired_ms)):
        row = Row(**dict(zip(COLUMNS, words, strict=True)))
        (here if retired_ms is None else gone)[row.id] = row
    return Installed(
        number=last.number,
        time_ms=last.time_ms,
        digest=last.digest,
        files=unpack(folder, last.files),
        rows=here,
        retired=gone,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Newest:
    """The inventory applied last: its number (0: none yet), the digest of its files, how many devices."""

    number: int = 0
    digest: str = ""
    devices: int = 0


def find_newest(ledger: Path | URL) -> Newest:
    """The inventory applied last, without reading it; also beside a running hub. Raises StoreError."""
    if isinstance(ledger, Path) and not ledger.exists():
        return Newest()
    with open_reader(ledger) as connection:
        if not inspect(connection).has_table(inventories.name):
            return Newest()
        columns = (inventories.c.number, inventories.c.digest)
        newest = select(*columns).order_by(inventories.c.number.desc()).limit(1)
        last = connection.execute(newest.where(inventories.c.files.is_not(None))).first()
        here = select(func.count()).select_from(devices).where(devices.c.retired_ms.is_(None))
        count = connection.scalar(here) or 0
    return Newest(number=last.number, digest=last.digest, devices=count) if last else Newest()


def newest_number(connection: Connection) -> int:
    """The number of the inventory applied last; 0 when there is none."""
    return connection.scalar(select(func.max(inventories.c.number))) or 0


def is_retired(connection: Connection, device: str) -> bool:
    """Whether there was a device of this id, and is none any more."""
    gone = (devices.c.id == device) & devices.c.retired_ms.is_not(None)
    return connection.scalar(select(func.count()).select_from(devices).where(gone)) == 1


def known_devices(
    connection: Connection, names: Iterable[str], profiles: ProfileLibrary
) -> dict[str, Device]:
    """Those of these devices that were ever applied, also retired ones, while their products are known."""
    wanted = sorted(names)
    found: dict[str, Device] = {}
    for start in range(0, len(wanted), _NAMES_AT_ONCE):
        some = devices.c.id.in_(wanted[start : start + _NAMES_AT_ONCE])
        for row in connection.execute(select(devices).where(some)):
            settings = dict(part.split("=", 1) for part in row.settings.split(";") if part)
            with suppress(ConfigError):
                profile = profiles.get(row.profile, settings, place="ledger")
                found[row.id] = Device(
                    id=row.id,
                    profile=profile,
                    link=row.link,
                    address=row.address,
                    period_s=float(row.period_s or profile.period_s),
                )
    return found


def find_installed(ledger: Path | URL, folder: Path) -> Installed:
    """The same from a ledger's place, also beside a running hub; nothing before the first start.

    Raises StoreError when the ledger cannot be read.
    """
    if isinstance(ledger, Path) and not ledger.exists():
        return Installed()
    with open_reader(ledger) as connection:
        return read_installed(connection, folder)


def installed_site(installed: Installed) -> Site | None:
    """The site as it is installed; None when there is none, or this version cannot read it any more."""
    if installed.files is None:
        return None
    try:
        return site_of(installed.files)
    except ConfigError:
        return None


def running_site(ledger: Path | URL, folder: Path) -> Site:
    """The site that a hub runs, or would run when it is started; raises ConfigErrors and StoreError."""
    installed = find_installed(ledger, folder)
    return site_of(installed.files) if installed.files else load_site(folder)
