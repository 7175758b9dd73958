"""Which object serves which model: values in, rows out."""

from datetime import UTC, datetime, timedelta

import pytest
from test_console_text import deployment

from agent.api.canary import Canary
from agent.core.console.served import (
    Applied,
    Seen,
    changes_table,
    may_serve,
    models_table,
    moment,
    parts,
    served,
    short,
)
from agent.core.objects import ObjectKey

NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
CHAT = ObjectKey("apps", "Deployment", "prod", "chat")
SOURCE = "GitRepository/flux-system/models"
APPLIED = Applied(key=CHAT, kustomization="prod/app", source=SOURCE, revision="main@sha1:" + "b" * 40)
PINNED = "org/model-b@" + "1" * 40


def canary(phase: str = "Progressing", weight: int = 20) -> Canary:
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod"},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "analysis": {"interval": "1m", "threshold": 1, "stepWeight": 10},
            },
            "status": {"phase": phase, "canaryWeight": weight},
        }
    )


@pytest.mark.parametrize(
    ("canaries", "wanted"),
    [
        ([], [("chat", 100)]),
        ([canary()], [("chat-primary", 80), ("chat", 20)]),
        ([canary("Succeeded", 0)], [("chat-primary", 100)]),
        ([canary("", 0)], [("chat", 100)]),
    ],
)
def test_a_deployment_that_is_rolled_out_serves_by_its_primary(canaries, wanted):
    assert list(parts(CHAT, canaries)) == wanted
    assert list(parts(CHAT._replace(name="other"), canaries)) == [("other", 100)]


def test_the_change_that_brought_the_reference_says_since_when():
    obj = deployment("chat", "org/model-b")
    (plain,) = served(APPLIED, obj, 100, [], {})
    assert (plain.since, plain.commit, plain.revision, plain.verified) == (None, None, APPLIED.revision, None)
    values = {"key": CHAT, "slot": plain.slot, "canonical": plain.reference}
    newer = Seen(**values, at=NOW - timedelta(hours=1), revision="main@sha1:" + "b" * 40)
    older = Seen(**values, at=NOW - timedelta(days=9), revision="main@sha1:" + "a" * 40)
    other = Seen(**{**values, "canonical": "hf://org/x@main"}, at=NOW, revision="main@sha1:" + "c" * 40)
    (known,) = served(APPLIED, obj, 100, [other, newer, older], {SOURCE: False})
    assert (known.since, known.commit, known.verified) == (newer.at, newer.revision, False)
    rows = list(models_table([plain, known], NOW))
    assert rows[1].split()[-5:] == ["-", "≤", "main@bbbbbbbbbb", "-", "no"]
    assert rows[2].split()[-4:] == ["1h", "main@bbbbbbbbbb", "no", "no"]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (("serving.kserve.io", "InferenceService"), True),
        (("apps", "Deployment"), True),
        (("", "ConfigMap"), False),
        (("", "Secret"), False),
        (("rbac.authorization.k8s.io", "Role"), False),
    ],
)
def test_only_kinds_that_can_name_a_model_are_read(kind, wanted):
    assert may_serve(ObjectKey(kind[0], kind[1], "prod", "x")) is wanted


def test_changes_are_a_table_whatever_is_missing():
    record = {
        "kind": "model",
        "op": "changed",
        "action": "rollout",
        "object": {"kind": "Deployment", "namespace": "prod", "name": "chat"},
    }
    entry = {
        "at": "2026-11-29T09:00:00Z",
        "text": "model x of Deployment chat: a -> b",
        "revision": "main@sha1:" + "b" * 40,
        "kustomization": "prod/app",
        "record": record,
        "runs": [{"name": "retrain-1", "state": "Running"}],
    }
    _, row, bare = changes_table([entry, {"text": "odd\x1b"}], NOW)
    words = "1h Deployment/prod/chat model changed rollout main@bbbbbbbbbb prod/app retrain-1 Running a -> b"
    assert row.split() == words.split()
    assert bare.split() == ["-", "-", "-", "-", "odd\\u001b"]
    assert moment({"at": "yesterday"}) is None


@pytest.mark.parametrize(
    ("revision", "text"),
    [("main@sha1:0123456789abcdef", "main@0123456789"), ("sha1:0123456789ab", "0123456789"), ("", "-")],
)
def test_revisions_are_short(revision, text):
    assert short(revision) == text
