"""What is installed: inventories, devices, their rooms, their credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0005"
_DEVICE_WORDS = ("building", "floor", "room", "circuit", "period_s", "settings", "note")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "inventories",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("files", sa.LargeBinary),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        *(_text(name) for name in _DEVICE_WORDS),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("retired_ms", sa.BigInteger),
    )
    op.create_index("ix_devices_room", "devices", ["building", "room"])
    _bindings()
    _credentials()


def _bindings() -> None:
    op.create_table(
        "bindings",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, sa.ForeignKey("devices.id"), nullable=False),
        sa.Column("building", sa.Text, nullable=False),
        _text("floor"),
        sa.Column("room", sa.Text, nullable=False),
        _text("circuit"),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("to_ms", sa.BigInteger),
        sa.Column("first_value", sa.BigInteger),
        sa.Column("first_ms", sa.BigInteger),
        sa.Column("last_value", sa.BigInteger),
        sa.Column("last_ms", sa.BigInteger),
        sa.Column("entered_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_index("ix_bindings_device", "bindings", ["device"])
    op.create_index("ix_bindings_room", "bindings", ["building", "room", "from_ms"])


def _credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        _text("serial"),
        sa.Column("issued_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.Column("evicted_ms", sa.BigInteger),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_index("ix_credentials_device", "credentials", ["device"])
