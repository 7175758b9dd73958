"""Log lines: one JSON object each, with the keys that `flux logs` reads, and without credentials."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging as stdlib
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import OperationError
from agent.telemetry import logging
from agent.telemetry.logging import object_context

FLUX_KEYS = ("ts", "level", "msg", "error", "controllerKind", "name", "namespace")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where the lines go, at level trace. Whatever was set up before comes back."""
    before, root = structlog.get_config(), stdlib.getLogger()
    ours = [handler for handler in root.handlers if isinstance(handler, logging._Forward)]
    level = root.level
    stream = io.StringIO()
    gc.collect()  # what tests before have left may complain when it goes, and not between these lines
    logging.configure("trace", stream)
    yield stream
    structlog.configure(**before)
    others = [handler for handler in root.handlers if not isinstance(handler, logging._Forward)]
    root.handlers = [*others, *ours]
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    text = out.getvalue()
    assert not text or text.endswith("\n")
    assert all(line.startswith("{") for line in text.splitlines())
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_has_what_flux_logs_needs_as_strings(out: io.StringIO) -> None:
    context = object_context("Kustomization", "kustomize.toolkit.fluxcd.io", "flux-system", "app")
    with structlog.contextvars.bound_contextvars(**context):
        structlog.get_logger().error("Reconciliation failed", error=OperationError("no such path"), revision="main@x")
    (line,) = lines(out)
    assert all(isinstance(line[key], str) for key in FLUX_KEYS)
    assert (line["level"], line["msg"], line["error"]) == ("error", "Reconciliation failed", "no such path")
    assert (line["controllerKind"], line["namespace"], line["name"]) == ("Kustomization", "flux-system", "app")
    assert line["Kustomization"] == {"name": "app", "namespace": "flux-system"}
    assert (line["controller"], line["controllerGroup"]) == ("kustomization", "kustomize.toolkit.fluxcd.io")
    assert line["revision"] == "main@x"
    assert "stacktrace" not in line


def test_the_time_is_iso_8601_in_utc_with_milliseconds(out: io.StringIO) -> None:
    logging.named("weir").info("hello")
    (line,) = lines(out)
    assert len(line["ts"]) == len("2026-01-02T03:04:05.678Z")
    assert line["ts"].endswith("Z")
    when = datetime.fromisoformat(line["ts"])
    assert abs(datetime.now(when.tzinfo) - when) < timedelta(minutes=1)
    assert line["logger"] == "weir"


@pytest.mark.parametrize(
    ("method", "level"),
    [("debug", "debug"), ("info", "info"), ("warning", "info"), ("error", "error"), ("critical", "error")],
)
def test_levels_have_the_names_that_flux_knows(out: io.StringIO, method: str, level: str) -> None:
    getattr(logging.named("weir"), method)("hello")
    assert [line["level"] for line in lines(out)] == [level]


@pytest.mark.parametrize(
    ("level", "told"), [("trace", 3), ("debug", 3), ("info", 2), ("warning", 1), ("error", 1)], ids=logging.LEVEL_NAMES
)
def test_the_level_holds_back_what_is_below_it(level: str, told: int, out: io.StringIO) -> None:
    logging.configure(level, out)
    log = logging.named("weir")
    log.debug("one")
    log.info("two")
    log.error("three")
    assert len(lines(out)) == told


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="log level 'loud' is unknown: use one of trace, debug, info, warning, error"):
        logging.configure("loud")


def test_only_the_unexpected_has_a_stack_trace(out: io.StringIO) -> None:
    log = logging.named("weir")
    log.error("expected", error=OperationError("the world said no"))
    try:
        _ = {}["missing"]
    except KeyError as error:
        log.error("unexpected", error=error, exc_info=error)  # noqa: TRY400 - the way the agent does it
    expected, unexpected = lines(out)
    assert "stacktrace" not in expected
    assert unexpected["error"] == "'missing'"
    assert "Traceback" in unexpected["stacktrace"]
    assert "exc_info" not in unexpected


def test_an_error_without_a_text_is_named(out: io.StringIO) -> None:
    logging.named("weir").info("slow", error=TimeoutError())
    assert lines(out)[0]["error"] == "TimeoutError"


def test_the_standard_library_speaks_json_too(out: io.StringIO) -> None:
    stdlib.getLogger("aiohttp.server").info("not told")
    stdlib.getLogger("aiohttp.server").warning("took %d s", 3)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        stdlib.getLogger("asyncio").exception("Task exception was never retrieved")
    warning, error = lines(out)
    assert (warning["level"], warning["msg"], warning["logger"]) == ("info", "took 3 s", "aiohttp.server")
    assert (error["level"], error["logger"]) == ("error", "asyncio")
    assert "ZeroDivisionError: division by zero" in error["stacktrace"]


async def test_what_the_loop_complains_of_is_a_line(out: io.StringIO) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "something was lost", "exception": OSError("gone")})
    (line,) = lines(out)
    assert line["msg"].startswith("something was lost")
    assert line["level"] == "error"
    assert "OSError: gone" in line["stacktrace"]


def test_a_warning_is_a_line(out: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.capture_warnings()
        try:
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        finally:
            stdlib.captureWarnings(capture=False)
    (line,) = lines(out)
    assert "DeprecationWarning: old" in line["msg"]


@given(text=st.text(), value=JSON)
def test_any_text_and_value_is_one_line(text: str, value: Any) -> None:
    before = structlog.get_config()
    stream = io.StringIO()
    logging.configure("info", stream)
    try:
        logging.named("weir").info(text, value=value)
    finally:
        structlog.configure(**before)
    assert stream.getvalue().count("\n") == 1
    json.loads(stream.getvalue())


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {("a", "b"): 1}, object(), b"bytes"])
def test_what_json_does_not_have_still_makes_a_line(out: io.StringIO, value: object) -> None:
    logging.named("weir").info("measured", value=value)

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    assert json.loads(out.getvalue(), parse_constant=refuse)["msg"] == "measured"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://bob:hunter2@git.example/x", "https://***@git.example/x"),
        ("https://ghp_hunter2@git.example/x", "https://***@git.example/x"),
        ("fetch HTTP://b:hunter2@[::1]:1/ now", "fetch HTTP://***@[::1]:1/ now"),
        ("ssh://git:hunter2@git.example/x", "ssh://git:***@git.example/x"),
        ("ssh://git@git.example/x", "ssh://git@git.example/x"),
        ("https://git.example/x@y", "https://git.example/x@y"),
        ("hf://org/m@a1 -> oci://r.example/m@sha256:00", "hf://org/m@a1 -> oci://r.example/m@sha256:00"),
        ("http://localhost:8080/a?b=c@d", "http://localhost:8080/a?b=c@d"),
    ],
)
def test_credentials_in_addresses_are_blanked_wherever_they_stand(out: io.StringIO, text: str, shown: str) -> None:
    logging.named("weir").error(text, error=OperationError(text), deep={"list": [text]})
    (line,) = lines(out)
    assert (line["msg"], line["error"], line["deep"]) == (shown, shown, {"list": [shown]})


def test_a_line_that_flux_logs_would_end_at_is_cut(out: io.StringIO) -> None:
    """It reads lines of less than 64 KiB, and no further than the first longer one."""
    address = "https://user:hunter2@git.example.org/x"
    error = "e" * (4096 - len("https://user:hun")) + address + "e" * 100_000
    about = object_context("Kustomization", "g", "ns", "app")
    logging.named("x").error(
        "failed", error=error, output={f"ConfigMap/ns/{n}": "created" for n in range(5000)}, **about
    )
    logging.named("x").info("next", output={f"ConfigMap/ns/{n}": "created" for n in range(1000)}, **about)
    first, second = out.getvalue().splitlines()
    assert len(first) < 64 * 1024
    assert "hun" not in first
    cut = json.loads(first)
    assert all(isinstance(cut[key], str) for key in FLUX_KEYS)
    assert (cut["name"], cut["error"][:9], cut["error"][-3:]) == ("app", "eeeeeeeee", "...")
    assert len(json.loads(second)["output"]) == 1000


def test_lines_of_threads_do_not_mix(out: io.StringIO) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            logging.named("weir").info("x" * 200, number=number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(out)) == 200


@pytest.mark.parametrize(("level", "shown"), [("trace", ["trace", "debug", "info"]), ("debug", ["debug", "info"])])
def test_traces_are_below_debug(level: str, shown: list[str]) -> None:
    before = structlog.get_config()
    stream = io.StringIO()
    logging.configure(level, stream)
    try:
        logging.trace("fine")
        logging.named("weir").debug("coarse")
        logging.named("weir").info("told")
    finally:
        structlog.configure(**before)
    assert [line["level"] for line in lines(stream)] == shown


def test_the_console_encoding_is_for_people() -> None:
    before = structlog.get_config()
    stream = io.StringIO()
    logging.configure("info", stream, encoding="console")
    try:
        logging.named("weir").info("applied https://bob:hunter2@git.example/x", revision="main@sha1:1")
        logging.named("weir").error("failed", error=OperationError("gone"))
    finally:
        structlog.configure(**before)
    first, second = stream.getvalue().splitlines()
    assert first.split("\t")[1:] == [
        "INFO",
        "weir",
        "applied https://***@git.example/x",
        '{"revision": "main@sha1:1"}',
    ]
    assert second.split("\t")[1:] == ["ERROR", "weir", "failed", '{"error": "gone"}']


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="log encoding 'xml' is unknown"):
        logging.configure("info", encoding="xml")
