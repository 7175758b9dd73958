"""One row for each operation of a change record: what was, what is, and what a registry knows about both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from agent.core.models import Digest, Identity, Ref, RenderedSet
from agent.core.models.decide import decide
from agent.core.models.floating import Floated, floated, has_floated
from agent.core.models.record import Operation
from agent.core.models.references import references
from agent.core.objects import ObjectKey
from tests.unit.models.manifests import DIGEST_A, DIGEST_B, A, B, compare, config_map, container, deployment, only, vllm

TAG = deployment(container(image="registry.example/m:v3"))
DIGEST = deployment(container(image=f"registry.example/m@{DIGEST_A}"))
TABLE: list[tuple[str, Any, Any, Mapping[str, str], str, str]] = [
    ("a new object", None, TAG, {}, "added", "apply"),
    ("an object that goes", TAG, None, {}, "removed", "apply"),
    ("another model", vllm("org/m", "--revision", A), vllm("org/m", "--revision", B), {}, "changed", "rollout"),
    (
        "another commit with other weights",
        vllm("org/m", "--revision", A),
        vllm("org/m", "--revision", B),
        {f"hf://org/m@{A}": "11", f"hf://org/m@{B}": "22"},
        "changed",
        "rollout",
    ),
    (
        "a commit that edits the card",
        vllm("org/m", "--revision", A),
        vllm("org/m", "--revision", B),
        {f"hf://org/m@{A}": "11", f"hf://org/m@{B}": "11"},
        "metadata-only",
        "none",
    ),
    (
        "a tag becomes the digest it meant",
        TAG,
        DIGEST,
        {"oci://registry.example/m:v3": "a" * 64},
        "respelled",
        "apply",
    ),
    (
        "a tag becomes a digest that it did not mean",
        TAG,
        DIGEST,
        {"oci://registry.example/m:v3": DIGEST_B.partition(":")[2]},
        "changed",
        "rollout",
    ),
    (
        "two tags of one content",
        TAG,
        deployment(container(image="registry.example/m:stable")),
        {"oci://registry.example/m:v3": "a" * 64, "oci://registry.example/m:stable": "a" * 64},
        "respelled",
        "apply",
    ),
    ("a branch that was the default", vllm("org/m"), vllm("org/m", "--revision", "main"), {}, "respelled", "apply"),
]


def knowing(content: Mapping[str, str]) -> Any:
    """Resolves what a registry of that content would."""

    def resolve(_side: str, _key: ObjectKey, _slot: str, ref: Ref) -> Ref:
        if ref.canonical not in content or ref.digest is not None:
            return ref
        scope = "manifest" if ref.scheme == "oci" else "loaded"
        revision = content[ref.canonical] if ref.scheme == "oci" else ref.canonical
        digest = Digest("sha256", content[ref.canonical], scope, "sha256")  # type: ignore[arg-type]  # one of the two
        return replace(ref, identity=Identity(revision=revision), digest=digest)

    return resolve


@pytest.mark.parametrize(
    ("old", "new", "content", "op", "action"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_operations(old: Any, new: Any, content: Mapping[str, str], op: str, action: str) -> None:
    found = compare([old] if old else [], [new] if new else [], resolve=knowing(content))
    record = next(r for r in found if r.kind in {"model", "code-image"} and r.op == op)
    assert record.action == action
    # the same comparison gives the same record
    again = compare([old] if old else [], [new] if new else [], resolve=knowing(content))
    assert [r.id for r in again] == [r.id for r in found]


def test_digests_of_listings_made_from_other_validators_are_not_compared() -> None:
    def resolve(side: str, _key: ObjectKey, _slot: str, ref: Ref) -> Ref:
        value, strength = ("a", "md5") if side == "old" else ("b", "etag")
        return replace(ref, digest=Digest("sha256", value * 64, "listing", strength))

    found = compare([vllm("org/m")], [vllm("org/m", "--revision", "main")], resolve=resolve)
    assert [record.op for record in found if record.kind == "model"] == ["respelled"]


def test_moved_and_parse_error_have_rows_too() -> None:
    renamed = compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", A, name="other")])
    assert "moved" in {record.op for record in renamed}
    broken = compare([config_map({"a": "b"})], [{**config_map({}), "data": 7}])
    assert {record.op for record in broken} == {"parse-error"}


def test_floated() -> None:
    rendered = RenderedSet([TAG])
    (reference,) = references(rendered)
    before, after = (
        replace(reference.slot.ref, identity=Identity(), digest=Digest("sha256", value * 64, "manifest", "sha256"))
        for value in "ab"
    )
    assert has_floated(before, after)
    record = only(floated([Floated(reference, before, after)], rendered, "flux-system/apps", "main@sha1:1"))
    assert (record.op, record.action, record.cause, record.direction) == ("floated", "alert", "float", "unknown")
    assert record.commit.old == record.commit.new == "main@sha1:1"
    back = only(floated([Floated(reference, after, before)], rendered, "flux-system/apps", "main@sha1:1"))
    assert back.id != record.id


@pytest.mark.parametrize(
    "after",
    [
        Digest("etag", "b", "object", "etag"),  # another validator tells nothing
        Digest("sha256", "a" * 64, "manifest", "sha256"),
        None,
    ],
)
def test_what_has_not_floated(after: Digest | None) -> None:
    ref = next(iter(references(RenderedSet([TAG])))).slot.ref
    before = replace(ref, identity=Identity(), digest=Digest("sha256", "a" * 64, "manifest", "sha256"))
    assert not has_floated(before, replace(before, digest=after))


def test_what_cannot_be_asked_has_not_floated() -> None:
    ref = next(iter(references(RenderedSet([TAG])))).slot.ref
    before, after = (replace(ref, digest=Digest("sha256", v * 64, "manifest", "sha256")) for v in "ab")
    assert not has_floated(before, replace(after, identity=Identity(unresolved="timeout")))


def test_every_operation_has_a_default_action() -> None:
    ref = next(iter(references(RenderedSet([TAG])))).slot.ref
    actions = {op: decide("model", op, ref, ref)[0] for op in get_args(Operation)}
    alerts = {op for op, action in actions.items() if action == "alert"}
    assert alerts == {"floated", "stale-serving", "pin-lost", "parse-error"}
    assert actions["metadata-only"] == "none"
