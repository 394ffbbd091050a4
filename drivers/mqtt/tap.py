"""What a person who looks on is shown of the messages of one device."""

from __future__ import annotations

from hub import Host, Trace

_KEPT_BYTES = 4096


def show_frame(
    host: Host, device: str, topic: str, payload: bytes, text: str, *, outgoing: bool = False
) -> None:
    """Topic, a line end and the payload, as the frames of commands are kept."""
    host.tap(
        Trace(
            time_ms=host.clock.now_ms(),
            device=device,
            outgoing=outgoing,
            data=(topic.encode() + b"\n" + payload)[:_KEPT_BYTES],
            text=text,
        )
    )
