"""A caller of the hub's API who loses it again and again: repeats with the same key, remembers every word."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
import msgspec

from hub import State, Value
from hub.cli.tell import CommandRow, CommandRows, CommandWhole

_AGAIN_S = 0.4
_TIMEOUT_S = 30.0
_WAIT_S = 10.0
_LATER = (429, 503)  # nothing was taken: ask again


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a caller wants of a device, under its own key."""

    key: str
    device: str
    name: str
    arguments: Mapping[str, Value]
    deadline_s: float | None = None


@dataclass(kw_only=True, slots=True)
class Caller:
    """Everything the hub has told this caller: ids it took, ends it showed, wishes it declined."""

    http: httpx2.AsyncClient
    taken: dict[str, str] = field(default_factory=dict)  # key: id
    ended: dict[str, CommandRow] = field(default_factory=dict)  # id: as it was shown first
    declined: dict[str, str] = field(default_factory=dict)  # key: why
    contradictions: list[str] = field(default_factory=list)
    lost: int = 0  # answers that never came

    async def tell(self, wish: Wish) -> None:
        """Have it taken, wait for its end, then ask with the same key once more."""
        command = await self._submit(wish)
        if command is None:
            return
        self.taken[wish.key] = command.id
        row = await self.end_of(command.id)
        if row.state is State.UNKNOWN:  # or no further credit would be taken
            row = await self._resolve(row)
        self.ended[command.id] = row
        again = await self._submit(wish)
        if again is None or (again.id, again.state) != (row.id, row.state):
            self.contradictions.append(f"{wish.key} asked for again: {again}, not {row}")

    async def end_of(self, command: str) -> CommandRow:
        """The command once it has ended; however often the hub goes away meanwhile."""
        while True:
            answer = await self._ask("GET", f"/v1/commands/{command}?wait_s={_WAIT_S}")
            answer.raise_for_status()
            row = msgspec.json.decode(answer.content, type=CommandWhole).command
            if row.state.final:
                return row

    async def known(self) -> list[CommandRow]:
        """The newest commands that the hub knows."""
        answer = await self._ask("GET", "/v1/commands?limit=1000")
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=CommandRows).commands

    async def _resolve(self, row: CommandRow) -> CommandRow:
        answer = await self._ask("POST", f"/v1/commands/{row.id}/resolve", {"outcome": "done"})
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=CommandRow)

    async def _submit(self, wish: Wish) -> CommandRow | None:
        body = {
            "device": wish.device,
            "name": wish.name,
            "arguments": dict(wish.arguments),
            "cause": "crash campaign",
            "deadline_s": wish.deadline_s,
        }
        answer = await self._ask("POST", "/v1/commands", body, {"Idempotency-Key": wish.key})
        if answer.status_code != 202:
            self.declined[wish.key] = f"{answer.status_code} {answer.text}"
            return None
        return msgspec.json.decode(answer.content, type=CommandRow)

    async def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Ask until somebody answers."""
        while True:
            try:
                answer = await self.http.request(method, path, json=body, headers=headers)
            except httpx2.TransportError:
                self.lost += 1
            else:
                if answer.status_code not in _LATER:
                    return answer
            await asyncio.sleep(_AGAIN_S)


def caller_of(listen: str, key: str) -> Caller:
    """A caller with this key of the hub that listens there."""
    http = httpx2.AsyncClient(
        base_url=f"http://{listen}",
        headers={"Authorization": f"Bearer {key}"},
        timeout=_TIMEOUT_S,
        trust_env=False,
    )
    return Caller(http=http)
