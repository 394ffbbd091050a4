"""The running hub's HTTP interface, as the command line uses it on the same box."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import httpx2
import msgspec

from hub.config import KEY_VARIABLE, load_config
from hub.errors import ConfigError, HubError
from hub.status import is_served

KEY_FILE = "admin.key"
TIMEOUT_S = 30.0
Shape = TypeVar("Shape")


class ProblemField(msgspec.Struct, frozen=True):
    """One field the hub complained of."""

    field: str = ""
    reason: str = ""


class Problem(msgspec.Struct, frozen=True):
    """An RFC 9457 problem document, as far as a person wants to read it."""

    type: str = ""
    title: str = ""
    detail: str = ""
    errors: list[ProblemField] = []


class Answered(HubError):
    """The hub refused, with its words, its status and the kind of problem."""

    def __init__(self, status: int, problem: Problem) -> None:
        self.status = status
        self.kind = problem.type.rpartition(":")[2]
        fields = "; ".join(f"{item.field}: {item.reason}" for item in problem.errors)
        super().__init__(" - ".join(filter(None, (problem.title, problem.detail, fields))))


class HubClient:
    """Asks the hub whose configuration is in `folder`, with the key of this box or of the environment."""

    def __init__(self, folder: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        config = load_config(folder)
        self._http = httpx2.Client(
            base_url=f"http://{config.api.listen}",
            headers={"Authorization": f"Bearer {_key(config.data)}"},
            timeout=timeout_s,
            trust_env=False,
        )

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, shape: type[Shape], query: Mapping[str, str | int | float]) -> Shape:
        """What stands at this path; raises Answered, or HubError when no hub answers."""
        return self._ask("GET", path, shape, query=query)

    def get_text(self, path: str, query: Mapping[str, str | int | float]) -> str:
        """The text that stands at this path; raises as `get`."""
        return self._answer("GET", path, query=query).decode()

    def post(
        self,
        path: str,
        shape: type[Shape],
        body: object = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | float] | None = None,
    ) -> Shape:
        """Ask for a change; raises Answered, or HubError when no hub answers."""
        return self._ask("POST", path, shape, body=body, headers=headers, query=query)

    def put(self, path: str, shape: type[Shape], body: object) -> Shape:
        """Have this stand at the path; raises Answered, or HubError when no hub answers."""
        return self._ask("PUT", path, shape, body=body)

    def delete(self, path: str, query: Mapping[str, str | int | float] | None = None) -> None:
        """End what stands at this path; raises Answered, or HubError when no hub answers."""
        self._ask("DELETE", path, type(None), query=query)

    def content(self, path: str) -> bytes:
        """The bytes that stand at this path; raises Answered, or HubError when no hub answers."""
        return self._answer("GET", path)

    def events(
        self, path: str, query: Mapping[str, str | int | float]
    ) -> Iterator[tuple[str, bytes]]:
        """Server-sent events (name, data) until the hub ends them; raises as the others."""
        try:
            with self._http.stream("GET", path, params=dict(query)) as answer:
                if answer.status_code >= 400:
                    raise Answered(answer.status_code, _problem(answer.read()))
                name = ""
                for line in answer.iter_lines():
                    key, _, text = line.partition(": ")
                    if key == "event":
                        name = text
                    elif key == "data":
                        yield name, text.encode()
        except httpx2.HTTPError as error:
            raise HubError(f"no hub answers at {self._http.base_url}: {error}") from None

    def _ask(
        self,
        method: str,
        path: str,
        shape: type[Shape],
        *,
        query: Mapping[str, str | int | float] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Shape:
        content = self._answer(method, path, query=query, body=body, headers=headers)
        return msgspec.json.decode(content or b"null", type=shape)

    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | float] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            answer = self._http.request(
                method, path, params=dict(query or {}), content=content, headers=sent
            )
        except httpx2.HTTPError as error:
            raise HubError(f"no hub answers at {self._http.base_url}: {error}") from None
        if answer.status_code >= 400:
            raise Answered(answer.status_code, _problem(answer.content))
        return answer.content


def hub_runs(folder: Path) -> bool:
    """Whether the hub of this configuration runs on this box."""
    return is_served(load_config(folder).data)


def _problem(content: bytes) -> Problem:
    try:
        return msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        return Problem(title="the hub refused")


def _key(data: Path) -> str:
    key = os.environ.get(KEY_VARIABLE)
    if key:
        return key
    try:
        return (data / KEY_FILE).read_text("ascii").strip()
    except OSError as error:
        raise ConfigError(
            file=str(data / KEY_FILE),
            key="key",
            found=str(error.strerror),
            hint=f"start the hub once, or set {KEY_VARIABLE}",
        ) from None
