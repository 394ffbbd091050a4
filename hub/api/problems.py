"""Errors as RFC 9457 problem documents: what is wrong, which field, and nothing of how the hub is made."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from hub.auth import TooManyChecks
from hub.campus.accounts.accounts import BookError
from hub.campus.life.jobs import JobError, NoSuchRoom
from hub.campus.orders.asking import ListError
from hub.campus.orders.desk import NoMeter, NumberUsed
from hub.campus.orders.intake import NoRoom, OrderConflict
from hub.campus.orders.notices import NoticeError
from hub.campus.orders.orders import OrderError
from hub.campus.orders.signatures import NotSigned
from hub.campus.sharing.report import NoFeeder
from hub.campus.supply.desk import NoSupply
from hub.campus.supply.record import SupplyError
from hub.commands import CommandError, Refusal
from hub.errors import ConfigError, HubError, StoreError
from hub.safety import StillAlarm

MEDIA_TYPE = "application/problem+json"
_FIELDS_MAX = 20
_log = structlog.get_logger("api")


class FieldProblem(BaseModel):
    """One wrong field: `body.arguments.seconds`, `query.limit`, `header.Idempotency-Key`."""

    model_config = ConfigDict(frozen=True)
    field: str
    reason: str


class ProblemDocument(BaseModel):
    """RFC 9457: `type` tells the kinds of problem apart, `status` repeats the HTTP status."""

    model_config = ConfigDict(frozen=True)
    type: str
    title: str
    status: int
    detail: str = ""
    errors: list[FieldProblem] = []


class Problem(HubError):
    """A request that ends in a problem document."""

    def __init__(
        self, status: int, kind: str, detail: str = "", errors: tuple[FieldProblem, ...] = ()
    ) -> None:
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = errors
        super().__init__(detail or kind)


NOT_KNOWN = Problem(401, "unauthorized", "present a key that is good: Authorization: Bearer …")
NOT_SIGNED = Problem(401, "unauthorized", "sign it as agreed, with a key that is good, now")
NOT_ALLOWED = Problem(403, "forbidden", "this key may not do that")
TOO_OFTEN = Problem(429, "too-many", "a room's key may ask 60 times a minute")
NOT_FOUND = Problem(404, "not-found", "there is no such thing, or not for this key")

_REFUSALS = {
    Refusal.UNKNOWN_DEVICE: 422,
    Refusal.UNKNOWN_COMMAND: 422,
    Refusal.UNKNOWN_ID: 404,
    Refusal.INVALID_ARGUMENT: 422,
    Refusal.CONFLICT: 409,
    Refusal.UNSAFE: 403,
    Refusal.UNPROVEN: 403,
    Refusal.OBSERVE_ONLY: 409,
    Refusal.OFFLINE: 409,
    Refusal.TOO_MANY: 429,
    Refusal.NOT_HELD: 409,
    Refusal.ENDED: 409,
    Refusal.UNRESOLVED: 409,
    Refusal.NOT_UNKNOWN: 409,
    Refusal.SAME_PERSON: 403,
}
# What cannot be as things stand, in words that were written for callers.
_IN_OWN_WORDS: Mapping[type[Exception], tuple[int, str]] = {
    StillAlarm: (409, "still-alarm"),
    NoSuchRoom: (404, "no-room"),
    NoMeter: (404, "no-room"),
    JobError: (409, "conflict"),
    OrderError: (409, "conflict"),
    BookError: (409, "not-booked"),
    NumberUsed: (409, "conflict"),
    ListError: (409, "platform"),
    NoFeeder: (409, "no-feeder"),
}
# Said in the same words whether there is none or this key may not know.
_SAME_WORDS = {
    Refusal.UNKNOWN_DEVICE: "no such device",
    Refusal.CONFLICT: "this key was used for another command",
}


def answer(problem: Problem) -> JSONResponse:
    """The problem as a response."""
    document = ProblemDocument(
        type=f"urn:dormhub:problem:{problem.kind}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        errors=list(problem.errors),
    )
    headers = {}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = "5"
    return JSONResponse(
        document.model_dump(), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def problem_of(error: Exception) -> Problem:
    """What the caller is told of an error; its own words only where they were written for callers."""
    match error:
        case Problem():
            return error
        case CommandError():
            return _refused(error)
        case RequestValidationError():
            return Problem(422, "invalid", "the request is not as documented", _fields(error))
        case HTTPException(status_code=status):
            return NOT_FOUND if status == HTTPStatus.NOT_FOUND else Problem(status, _kind(status))
        case HubError() if type(error) in _IN_OWN_WORDS:
            return Problem(*_IN_OWN_WORDS[type(error)], str(error))
        case NotSigned() | NoticeError() | NoRoom() | OrderConflict() | SupplyError():
            return _not_taken(error)
        case TooManyChecks():
            return Problem(429, "too-many", "too many unknown keys are being checked")
        case StoreError():
            return Problem(503, "store", "the hub cannot use its store now; nothing was taken")
        case ConfigError():  # half of the broker's authority is missing: the hub's operator mends it
            return Problem(503, "configuration", str(error))
        case _:
            return Problem(500, "internal", "the hub made a mistake; it is in its log")


def install(app: FastAPI) -> None:
    """Answer every error of this app with a problem document."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request failed", status=problem.status, error=str(error))
        return answer(problem)

    for kind in (HubError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)


def _kind(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "-")


def _not_taken(
    error: NotSigned | NoticeError | NoRoom | OrderConflict | SupplyError,
) -> Problem:
    match error:
        case NotSigned():
            return NOT_SIGNED
        case NoticeError(field=field, text=text):
            wrong = FieldProblem(field=f"body.{field}", reason=text)
            return Problem(422, "invalid", text, (wrong,))
        case NoRoom():
            return Problem(404, "no-room", "no meter serves this room; nothing was taken")
        case NoSupply():
            return NOT_FOUND
        case SupplyError():
            return Problem(409, "supply", str(error))
        case OrderConflict():
            return Problem(409, "conflict", str(error))


def _refused(error: CommandError) -> Problem:
    text = _SAME_WORDS.get(error.kind, error.text)
    status = _REFUSALS[error.kind]
    if status == HTTPStatus.NOT_FOUND:
        return NOT_FOUND
    field = "header.Idempotency-Key" if error.field == "key" else f"body.{error.field}"
    fields = (FieldProblem(field=field, reason=text),) if error.field else ()
    return Problem(status, error.kind.replace("_", "-"), text, fields)


def _fields(error: RequestValidationError) -> tuple[FieldProblem, ...]:
    return tuple(
        FieldProblem(field=".".join(str(part) for part in item["loc"]), reason=item["msg"])
        for item in error.errors()[:_FIELDS_MAX]
    )
