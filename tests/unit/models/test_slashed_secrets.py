"""Passwords with slashes in addresses, as secret keys of AWS are, are shown nowhere; what only looks like one is."""

from __future__ import annotations

import pytest

from agent.core.models import parse
from agent.core.models.redact import redact, redact_within
from agent.core.models.ref import literal

USER, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"s3://{USER}:{SECRET}@bucket/m", "s3://***@bucket/m"),
        (f"s3://{USER}:123/{SECRET}@bucket/m", "s3://***@bucket/m"),  # begins like a port
        (f"s3://{USER}:{SECRET}@bucket/m@v1", "s3://***@bucket/m@v1"),
        (f"https://me:{SECRET}@host.example:8443/m.tar?x=1", "https://***@host.example:8443/m.tar?x=1"),
        (f"minio://me:/{SECRET}/@host/bucket", "minio://***@host/bucket"),
    ],
)
def test_a_password_with_slashes_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact_within(f"cannot read {text}, tried {text}") == f"cannot read {shown}, tried {shown}"
    ref = parse(text)
    assert SECRET[:8] not in f"{ref}"
    assert SECRET[-8:] not in f"{ref}"


@pytest.mark.parametrize(
    "text",
    [
        "https://host.example:8443/scope/@org/m@v1",
        "oci://registry.example:5000/org/m@sha256:" + "a" * 64,
        "hdfs://namenode:8020/models/m@v1",
        "s3://bucket/path:with/colon@v1",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/m@v1",
        "http://[::1]:9000/a/b@v1",
        "http://$(HOST):$(PORT)/a@b",
        "lakefs://repo/main/m@v1",
        "delta://bucket/table@v7",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert redact(text) == text
    assert redact_within(text) == text


@pytest.mark.parametrize("part", ["://x:y/", "://x:", "://AKIAIOSFODNN7EXAMPLE:", "://x:y/://", "?sig", "://x?key=&"])
def test_what_only_begins_like_secrets_takes_no_time_for_each_beginning(part: str) -> None:
    # a mebibyte would take hours if each were read to the end of the text
    text = "http://h/" + part * (2**20 // len(part))
    assert redact_within(text) == text.replace("?key=&", "?key=***&")
    assert redact_within(f"{text} s3://{USER}:{SECRET}@bucket").endswith(" s3://***@bucket")
    assert len(literal(text).canonical) < 2100
