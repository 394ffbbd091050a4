"""A copy of all that this box must not lose, made while it works, and put back on an empty one."""

from hub.backup.archive import Manifest, Whole, check, make
from hub.backup.restore import restore, restored_config

__all__ = ["Manifest", "Whole", "check", "make", "restore", "restored_config"]
