"""What an answer of the API server means that is not a success."""

from __future__ import annotations

import json

import pytest

from agent.adapters.kube.errors import ApiError, Malformed, Unavailable, from_response

FORM = "failed to create typed patch object (team/chat; apps/v1, Kind=Deployment): "


def refused(code: int, message: str, reason: str = "", *, secret: bool = False) -> ApiError:
    status = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}
    return from_response(code, json.dumps(status).encode(), secret=secret)


def test_an_object_that_has_not_the_form_of_its_kind_is_no_fault_of_the_server() -> None:
    error = refused(500, f"{FORM}.spec.foo: field not declared in schema")
    assert (type(error), error.api_reason) == (Malformed, "")
    assert error.message == f"{FORM}.spec.foo: field not declared in schema"


def test_several_errors_of_one_object_read_the_same_each_time() -> None:
    lines = ["  .spec.b: field not declared in schema", "  .spec.a: expected string, got 1"]
    told = {refused(500, f"{FORM}errors:\n" + "\n".join(each)).message for each in (lines, lines[::-1])}
    assert told == {f"{FORM}errors:\n{lines[1]}\n{lines[0]}"}


def test_what_a_secret_holds_is_not_quoted() -> None:
    error = refused(500, f'{FORM}.data: expected map, got "hunter2"', secret=True)
    assert isinstance(error, Malformed)
    assert "hunter2" not in error.message


@pytest.mark.parametrize(
    ("message", "reason", "shown"),
    [
        ("etcdserver: request timed out", "", "ServiceUnavailable"),
        (f"Internal error occurred: {FORM}", "InternalError", "InternalError"),
        (f"{FORM}.spec: no", "InternalError", "InternalError"),
    ],
)
def test_other_faults_of_the_server_may_pass(message: str, reason: str, shown: str) -> None:
    error = refused(500, message, reason)
    assert (type(error), error.api_reason) == (Unavailable, shown)
