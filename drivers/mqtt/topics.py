"""Topic templates: which topic a device speaks on, and which filter hears it. Pure.

A template is a topic with one whole level `{address}`, which stands for the device's address; an address
may itself have several levels. Only topics on which devices speak are allowed: a hub that hears its own
commands takes them for the device's answer (seen in the field: 175 of 300 switch orders "confirmed").
"""

from __future__ import annotations

from dataclasses import dataclass

ADDRESS = "{address}"
# Levels that mark what is said to a device, in the conventions we know (ours, Tasmota, Shelly,
# zigbee2mqtt, Acrel, plate cameras).
_TO_DEVICE_LEVELS = frozenset({"cmnd", "command", "set", "down", "server"})
_OWN_TREE, _OWN_UP = "dormhub", "up"
_TOPIC_MAX_BYTES = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicTemplate:
    """A topic with one level `{address}`: `head` stands before it and `tail` after it, with their slashes."""

    head: str
    tail: str

    def topic(self, address: str) -> str:
        """The topic of the device at `address`."""
        return f"{self.head}{address}{self.tail}"

    def address(self, topic: str) -> str | None:
        """The address that makes this template the topic; None when none does."""
        end = len(topic) - len(self.tail)
        if end <= len(self.head) or not (topic.startswith(self.head) and topic.endswith(self.tail)):
            return None
        return topic[len(self.head) : end]

    def filter(self, address: str) -> str:
        """The subscription that hears every device whose address has as many levels as this one."""
        return self.topic("/".join("+" * (address.count("/") + 1)))


def parse_template(text: str) -> TopicTemplate:
    """The template of a topic on which devices speak; raises ValueError with what would be right."""
    levels = _levels(text)
    if _says_to_device(levels):
        raise ValueError(
            "name a topic on which the device speaks, not one on which it is spoken to"
        )
    return _template(text)


def parse_command_template(text: str) -> TopicTemplate:
    """The template of a topic on which devices are spoken to; raises ValueError."""
    if not _says_to_device(_levels(text)):
        raise ValueError("name a topic on which the device is spoken to")
    return _template(text)


def parse_answer_template(text: str) -> TopicTemplate:
    """The template of a topic on which a device answers; it may stand below the topic it was asked on."""
    _levels(text)
    return _template(text)


def _levels(text: str) -> list[str]:
    levels = text.split("/")
    if levels.count(ADDRESS) != 1 or text.count("{") != 1 or text.count("}") != 1:
        raise ValueError("write {address} once, as a whole level")
    if any(level in ("", "+", "#") for level in levels) or set(text) & set("+#\0"):
        raise ValueError("write a topic without wildcards and empty levels")
    if levels == [ADDRESS]:
        raise ValueError("name at least one level beside {address}")
    return levels


def _template(text: str) -> TopicTemplate:
    head, tail = text.split(ADDRESS)
    return TopicTemplate(head=head, tail=tail)


def _says_to_device(levels: list[str]) -> bool:
    own = levels[0] == _OWN_TREE and levels[1:2] != [_OWN_UP]
    # `<id>/rpc` carries requests to a Shelly, `<id>/events/rpc` what it tells.
    request = levels[-1] == "rpc" and levels[-2:-1] != ["events"]
    return own or request or not _TO_DEVICE_LEVELS.isdisjoint(levels)


def address_mistake(address: str) -> str:
    """What is wrong with a device's address as part of a topic; empty when nothing is."""
    levels = address.split("/")
    if "" in levels or set(address) & set("+#\0$"):
        return "an address has no empty level and none of + # $"
    if not {".", ".."}.isdisjoint(levels) or "\\" in address:
        return "an address has no level . or .., and no backslash"
    if not address.isprintable() or address != address.strip():
        return "an address has no control characters, and no space at its ends"
    if len(address.encode()) > _TOPIC_MAX_BYTES:
        return f"an address has at most {_TOPIC_MAX_BYTES} bytes"
    if levels[0] == _OWN_TREE or not _TO_DEVICE_LEVELS.isdisjoint(levels):
        return "this address would catch what is said to devices"
    return ""
