"""What the API server says when it says no, translated once.

Messages carry the API server's own text and never a request body. The API server quotes offending values; for Secrets
those quotes are blanked here, at the border.
"""

# ruff: noqa: N818 - the classes are named by the API's own reasons, as every Kubernetes user knows them

from __future__ import annotations

import re
from typing import ClassVar, TypeVar

import msgspec

from agent.errors import OperationError, WeirError

T = TypeVar("T")


class Cause(msgspec.Struct, frozen=True):
    """One entry of `details.causes`: for an apply conflict, `field` is the path and `message` names the manager."""

    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: float | None = None


class Status(msgspec.Struct, frozen=True):
    """The parts of `meta/v1 Status` that are used; lenient, since proxies answer with anything."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


class ApiError(OperationError):
    """A refused or failed request.

    `status` is the HTTP status (0: no answer was received), `api_reason` the API's reason (NotFound, Conflict, ...),
    `retry_after` the server's wish in seconds, and `causes` its details.
    """

    default_reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        api_reason: str = "",
        retry_after: float | None = None,
        causes: tuple[Cause, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.api_reason = api_reason or self.default_reason
        self.retry_after = retry_after
        self.causes = causes

    def explain(self, hint: str) -> None:
        """Add what may be the cause to the message."""
        self.message = f"{self.message}; {hint}"
        self.args = (self.message,)


class Unauthorized(ApiError):
    """401: the credentials were not accepted."""

    default_reason = "Unauthorized"


class Forbidden(ApiError):
    """403: the credentials do not allow it."""

    default_reason = "Forbidden"


class NotFound(ApiError):
    """404: the object, or its kind, does not exist."""

    default_reason = "NotFound"


class NoMatch(NotFound):
    """The API server does not know the kind; its definition may follow."""

    default_reason = "NoMatch"

    def __init__(self, kind: str, version: str) -> None:
        super().__init__(f'no matches for kind "{kind}" in version "{version}"', status=404)
        self.kind = kind
        self.version = version


class Conflict(ApiError):
    """409: another writer was faster, or another field manager owns the fields (see `causes`)."""

    default_reason = "Conflict"


class AlreadyExists(Conflict):
    """409: an object of that name exists."""

    default_reason = "AlreadyExists"


class Gone(ApiError):
    """410: the resource version or the continue token is too old."""

    default_reason = "Expired"


class Invalid(ApiError):
    """422: the object breaks a rule of its kind."""

    default_reason = "Invalid"


class Malformed(ApiError):
    """500 without a reason: the object does not have the form of its kind, the message says where.

    A field that is not declared, or a number where a text belongs: asking again does not help.
    """

    default_reason = ""


class TooManyRequests(ApiError):
    """429: the server asks to come back later."""

    default_reason = "TooManyRequests"


class Unavailable(ApiError):
    """No usable answer: connection errors, deadlines, 5xx."""

    default_reason = "ServiceUnavailable"


def silent(error: WeirError) -> bool:
    """True if the API server gave no answer at all."""
    return isinstance(error, Unavailable) and error.status == 0


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
_MALFORMED = "failed to create typed patch object"
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`|\{.*\}|\[.*\]", re.DOTALL)
_BLANKED = frozenset({"Invalid", "BadRequest", "InternalError"})
"""Reasons whose text may quote values of the request; the others quote names only."""


def from_status(status: Status, code: int, *, secret: bool = False, retry_after: float | None = None) -> ApiError:
    """The error for a decoded Status. `secret`: the request was about a Secret, so quoted values are blanked."""
    reason = status.reason or ""
    message = _in_order((status.message or f"the server answered {code}").strip())
    details = status.details or _Details()
    causes = details.causes or ()
    if secret and (not reason or reason in _BLANKED):
        message = _QUOTED.sub('"**"', message)
        causes = ()
    kind = AlreadyExists if reason == "AlreadyExists" else _BY_STATUS.get(code)
    if kind is None and code >= 500:
        kind = Malformed if not reason and message.startswith(_MALFORMED) else Unavailable
    return (kind or ApiError)(
        message,
        status=code,
        api_reason=reason,
        retry_after=retry_after if retry_after is not None else details.retry_after_seconds,
        causes=causes,
    )


def _in_order(message: str) -> str:
    """Several errors of one object come in any order, and would be news each time."""
    start, several, errors = message.partition("errors:\n")
    return start + several + "\n".join(sorted(errors.splitlines()))


def from_response(code: int, body: bytes, *, secret: bool = False, retry_after: float | None = None) -> ApiError:
    """The error for an HTTP answer that is not a success (redirects are not followed)."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        # Not from the API server's own handlers: a proxy's page, or plain text such as "404 page not found".
        text = body[:200].decode("utf-8", "replace").strip()
        status = Status(message=text if text and not text.startswith("<") else None)
    return from_status(status, code, secret=secret, retry_after=retry_after)


def decoded(body: bytes | msgspec.Raw, form: type[T], what: str) -> T:
    """The JSON of an answer as `form`. Raises Unavailable, since only something else than the API answers otherwise."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError:
        raise Unavailable(f"{what}: the answer is not what the API promises") from None
