"""Who made each key, whose each command's key is, and what the newest commands are found by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column and the indexes; keys of commands from before belong to nobody."""
    op.add_column("api_keys", sa.Column("maker", sa.Text, nullable=False, server_default=""))
    op.execute(
        "UPDATE api_keys SET maker = COALESCE((SELECT MIN(audit.actor) FROM audit"
        " WHERE audit.subject = 'key/' || api_keys.id AND audit.action = 'added'), '')"
    )
    op.execute(sa.text("UPDATE commands SET key = :mark || key").bindparams(mark="\n"))
    op.drop_index("ix_commands_state", "commands")
    op.create_index("ix_commands_state", "commands", ["state", "id"])
    op.drop_index("ix_commands_device", "commands")
    op.create_index("ix_commands_device", "commands", ["device", "id"])
    op.create_index("ix_commands_created", "commands", ["created_ms"])
    op.create_index("ix_commands_sent", "commands", ["sent_ms"])
