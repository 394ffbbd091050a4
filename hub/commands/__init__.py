"""Commands: the one front door for whatever a device is to be told, and the book of what became of it."""

from hub.commands.book import Book, OpenCommand
from hub.commands.commands import Commands
from hub.commands.order import Attempt, Before, CommandError, Order, Record, Refusal, Resolution

__all__ = [
    "Attempt",
    "Before",
    "Book",
    "CommandError",
    "Commands",
    "OpenCommand",
    "Order",
    "Record",
    "Refusal",
    "Resolution",
]
