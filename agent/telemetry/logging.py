"""Structured logs, one JSON object a line, with the keys that `flux logs` reads.

`flux logs` needs `ts`, `level`, `msg`, `error`, `controllerKind`, `name` and `namespace`; the rest follows
controller-runtime's zap encoding so that existing log pipelines keep working.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

_LEVELS = {
    "trace": logging.NOTSET,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,  # Flagger's flag knows it
    "error": logging.ERROR,
}
LEVEL_NAMES = tuple(_LEVELS)
ENCODINGS = ("json", "console")
# Adapters keep credentials out of their messages; this is for the one that somebody wrote into a URL of a manifest.
_USERINFO = re.compile(r"""://([^/@\s"\\]+)@""")
_LONGEST_LINE = 64 * 1024 - 1
"""Bytes. At a longer one `flux logs` ends without a word, whatever comes after it."""
_LONGEST_VALUE = 4096
_WEB = re.compile(r"https?$", re.IGNORECASE)


Event = MutableMapping[str, Any]


def configure(level: str = "info", stream: TextIO | None = None, *, encoding: str = "json") -> None:
    """Set up structlog, and route the standard library's warnings through it. Called once, by the entry point.

    The encoding is `json`, one object a line, or `console` for people. Raises ValueError for an unknown level or
    encoding.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"log encoding {encoding!r} is unknown: use one of {', '.join(ENCODINGS)}")
    if level not in _LEVELS:
        msg = f"log level {level!r} is unknown: use one of {', '.join(LEVEL_NAMES)}"
        raise ValueError(msg)
    out = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _timestamp,
            _level,
            _error,
            structlog.processors.EventRenamer("msg"),
            _line if encoding == "json" else _console,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def capture_warnings() -> None:
    """Python's own warnings become log lines as well. For processes, not for tests."""
    logging.captureWarnings(capture=True)


def named(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry its name."""
    result: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(logger=name)
    return result


def trace(message: str, **values: Any) -> None:
    """A line that only the level `trace` shows."""
    logger = structlog.get_logger()
    if logger.is_enabled_for(logging.NOTSET):
        logger.debug(message, **values, level="trace")


def object_context(kind: str, group: str, namespace: str, name: str) -> dict[str, Any]:
    """The values that every line about one object carries."""
    return {
        "controller": kind.lower(),
        "controllerGroup": group,
        "controllerKind": kind,
        kind: {"name": name, "namespace": namespace},
        "namespace": namespace,
        "name": name,
    }


def _timestamp(_logger: object, _method: str, event: Event) -> Event:
    event["ts"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _level(_logger: object, method: str, event: Event) -> Event:
    known = {"warning": "info", "warn": "info", "critical": "error", "exception": "error"}.get(method, method)
    event.setdefault("level", known)
    return event


def _error(_logger: object, _method: str, event: Event) -> Event:
    """`exc_info` and exception values become text; a traceback only for what nobody expected."""
    info = event.pop("exc_info", None)
    if info:
        event["stacktrace"] = structlog.processors.format_exc_info(None, "", {"exc_info": info}).get("exception", "")
    if isinstance(event.get("error"), BaseException):
        event["error"] = str(event["error"]) or type(event["error"]).__name__
    return event


def _dumps(event: Event, **options: Any) -> str:
    """JSON as others read it: what does not fit (not-a-number, keys that are no strings) is shown as Python has it."""
    try:
        return json.dumps(event, allow_nan=False, **options)
    except (TypeError, ValueError):
        plain = {key: value if isinstance(value, str | int | None) else repr(value) for key, value in event.items()}
        return json.dumps(plain)


_JSON = structlog.processors.JSONRenderer(serializer=_dumps)


def _line(logger: object, method: str, event: Event) -> str:
    text = str(_JSON(logger, method, event))
    if len(text) > _LONGEST_LINE:
        text = str(_JSON(logger, method, {key: _cut(value) for key, value in event.items()}))
    return _USERINFO.sub(_blank, text)


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else _dumps({"value": value})
    if len(text) <= _LONGEST_VALUE:
        return value
    # Credentials go first: half of an address would not be known as one.
    return f"{_USERINFO.sub(_blank, text)[:_LONGEST_VALUE]}..."


def _console(_logger: object, _method: str, event: Event) -> str:
    """Time, level and message, then the rest as JSON: what zap's console encoder prints."""
    stack = event.pop("stacktrace", "")
    event["level"] = event["level"].upper()
    head = [str(event.pop(key)) for key in ("ts", "level", "logger", "msg") if key in event]
    lines = ["\t".join([*head, *([_dumps(event)] if event else [])]), *([stack] if stack else [])]
    return _USERINFO.sub(_blank, "\n".join(lines))


def _blank(found: re.Match[str]) -> str:
    """In http a user alone may be a token; elsewhere, as in `ssh://git@`, it is just a name."""
    user, colon, _ = found[1].partition(":")
    if _WEB.search(found.string, max(found.start() - 5, 0), found.start()):
        return "://***@"
    return f"://{user}:***@" if colon else found[0]


class _Forward(logging.Handler):
    """Hands the standard library's records (aiohttp, asyncio) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        method = "error" if record.levelno >= logging.ERROR else "info"
        about = {"exc_info": record.exc_info} if record.exc_info and record.exc_info[0] else {}
        getattr(named(record.name), method)(record.getMessage(), **about)
