"""Dispatch: sends open commands, one at a time for each device, and looks whether they were done."""

from hub.dispatch.dispatcher import Dispatcher
from hub.dispatch.lane import Wire

__all__ = ["Dispatcher", "Wire"]
