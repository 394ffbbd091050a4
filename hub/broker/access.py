"""Mosquitto's access list: who may publish and hear what. Pure; whatever is not in it is refused.

A device writes only where it speaks and reads only where it is spoken to. Nobody but the hub may write on
a topic on which devices are spoken to, so nobody else can leave a retained command there; the hub never
does. `$SYS` is the hub's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hub.broker.rows import HUB_USERNAME
from hub.plugin import Topics

_TOPIC_MAX_BYTES = 1024


def access_list(
    usernames: Sequence[tuple[str, str]], devices: Mapping[str, Topics], hub: Topics
) -> str:
    """The list for these names, each with its device; one whose device is not installed may do nothing.

    Raises ValueError for a topic that cannot be written in one line.
    """
    own = Topics(writes=hub.writes, reads=("$SYS/#", *hub.reads))
    blocks = [_block(HUB_USERNAME, own)]
    for username, device in usernames:
        if device in devices and device != HUB_USERNAME:
            blocks.append(_block(username, devices[device]))
    return "\n".join(blocks)


def _block(username: str, topics: Topics) -> str:
    return "".join(f"{line}\n" for line in (f"user {username}", *_lines(topics)))


def _lines(topics: Topics) -> Iterator[str]:
    both = set(topics.writes) & set(topics.reads)
    for topic in sorted({*topics.writes, *topics.reads}):
        one = "write" if topic in topics.writes else "read"
        yield f"topic {'readwrite' if topic in both else one} {_checked(topic)}"


def _checked(topic: str) -> str:
    if not topic.isprintable() or topic != topic.strip() or not topic:
        raise ValueError(f"{topic[:80]!r} cannot stand in an access list")
    if len(topic.encode()) > _TOPIC_MAX_BYTES:
        raise ValueError(f"{topic[:80]!r}… is longer than {_TOPIC_MAX_BYTES} bytes")
    return topic
