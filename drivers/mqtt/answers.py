"""What a device answers to a command over MQTT, and how its words are understood. Pure.

    answer = { topic = "dormhub/up/{address}/result", id = "id", code = "code",
        acknowledged = ["accepted"], refused = ["rejected"], reason = "reason" }

`id` `from` `code` `error` `reason` are paths. Whatever stands at `error` is a no; without `acknowledged`
whatever stands at `code` is a yes. A topic with `{source}` instead of `{address}` is the asker's own, and
then the answer must tell by itself which command (`id`) and which device (`from`) it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from drivers.mqtt.document import MISSING, Path, find, parse_json, parse_path
from drivers.mqtt.topics import parse_answer_template
from hub import Answer, Profile, Rejected, Value

_SOURCE = "{source}"
_REASON_MAX = 64


class AnswerKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={
    "sender": "from"
}):  # fmt: skip
    """Where a device answers and what it means, as written."""

    topic: str
    id: str | None = None
    sender: str | None = None
    code: str = ""
    acknowledged: tuple[bool | int | str, ...] = ()
    refused: tuple[bool | int | str, ...] = ()
    error: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What one answer says: of which command (None: the topic tells no id), and how it was taken.

    `answer` is None when it says neither yes nor no.
    """

    id: str | None
    answer: Answer | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerPlan:
    """Where a device answers, and how its words are understood."""

    head: str
    tail: str
    has_address: bool
    id: Path | None
    sender: Path | None
    code: Path
    acknowledged: tuple[Value, ...]
    refused: tuple[Value, ...]
    error: Path | None
    reason: Path | None

    def topic(self, address: str, source: str) -> str:
        """The topic on which the device at `address` answers this hub."""
        return f"{self.head}{address if self.has_address else source}{self.tail}"

    def read(self, payload: bytes, address: str) -> Heard | None:
        """What an answer heard on this device's topic says; None when another device wrote it.

        Raises Rejected, with a short fixed reason, when nothing of it can be used.
        """
        document = parse_json(payload)
        if self.sender is not None and find(document, self.sender) != address:
            return None
        number = None if self.id is None else find(document, self.id)
        if number is MISSING:
            raise Rejected("answer without id")
        answer, reason = self._judged(document)
        return Heard(id=None if number is None else str(number), answer=answer, reason=reason)

    def _judged(self, document: object) -> tuple[Answer | None, str]:
        reason = "" if self.reason is None else _short(find(document, self.reason))
        if self.error is not None and find(document, self.error) is not MISSING:
            return Answer.REFUSED, reason or "error"
        code = find(document, self.code)
        if code is MISSING:
            return None, reason
        if not self.acknowledged or _is_one_of(code, self.acknowledged):
            return Answer.ACKNOWLEDGED, ""
        if _is_one_of(code, self.refused):
            return Answer.REFUSED, reason or _short(code)
        return None, reason or _short(code)


def _is_one_of(code: object, values: tuple[Value, ...]) -> bool:
    return any(code == value and type(code) is type(value) for value in values)


def _short(value: object) -> str:
    return str(value)[:_REASON_MAX] if isinstance(value, str | int | float) else ""


def answer_plan(profile: Profile, key: str, keys: AnswerKeys) -> AnswerPlan:
    """The plan of an answer written at `key`; raises ConfigError."""
    has_address = _SOURCE not in keys.topic
    if not has_address and (keys.id is None or keys.sender is None):
        hint = "answers of many devices on one topic need id = … and from = …"
        raise profile.wrong(f"{key}.topic", f"found {keys.topic!r}", hint)
    if not keys.code:
        raise profile.wrong(f"{key}.code", "nothing", "write the path of the device's word")
    try:
        template = parse_answer_template(keys.topic.replace(_SOURCE, "{address}"))
    except ValueError as error:
        raise profile.wrong(f"{key}.topic", f"found {keys.topic!r}", str(error)) from None
    if both := set(keys.acknowledged) & set(keys.refused):
        found = f"found {sorted(map(str, both))}"
        raise profile.wrong(f"{key}.refused", found, "a word is either yes or no")
    paths = {
        name: _path(profile, f"{key}.{name}", text)
        for name, text in (
            ("id", keys.id),
            ("from", keys.sender),
            ("code", keys.code),
            ("error", keys.error),
            ("reason", keys.reason),
        )
        if text is not None
    }
    return AnswerPlan(
        head=template.head,
        tail=template.tail,
        has_address=has_address,
        id=paths.get("id"),
        sender=paths.get("from"),
        code=paths["code"],
        acknowledged=keys.acknowledged,
        refused=keys.refused,
        error=paths.get("error"),
        reason=paths.get("reason"),
    )


def _path(profile: Profile, key: str, text: str) -> Path:
    try:
        return parse_path(text)
    except ValueError as error:
        raise profile.wrong(key, f"found {text!r}", str(error)) from None
