"""Is this installation well? Each check says what it found and, where something is not right, what to do."""

from hub.checkup.finding import Finding, Verdict
from hub.checkup.whole import Checkup, findings

__all__ = ["Checkup", "Finding", "Verdict", "findings"]
