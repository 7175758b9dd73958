"""What pods run, held against what Git resolves to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from agent.core.models import Digest, Identity, Ref, RenderedSet, Size
from agent.core.models.references import Reference, references
from agent.core.models.running import Move, pods_of, serving, stale, stale_records, started
from tests.unit.models.manifests import A, B, compare, container, deployment, obj, vllm

Object = dict[str, Any]
EARLY, NOTICED, LATE = (f"2026-11-29T{hour}:00:00Z" for hour in ("10", "11", "12"))


def pod(manifest: Object, *, image_id: str = "", started: str = EARLY, notes: Object | None = None) -> Object:
    """A pod of a Deployment, as its status shows it."""
    spec = manifest["spec"]["template"]["spec"]
    containers = [
        {"name": one["name"], "imageID": image_id, "state": {"running": {"startedAt": started}}}
        for one in spec["containers"]
    ]
    metadata = {"name": "chat-1", "namespace": "ml", "annotations": notes or {}}
    status = {"phase": "Running", "startTime": started, "containerStatuses": containers}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def wanted(manifest: Object, digests: dict[str, str] | None = None, *, index: bool = False) -> list[Reference]:
    """The references of an object, with the digests that a registry tells by slot."""
    (listed,) = serving(references(RenderedSet([manifest]))).values()
    size = None if index else Size(bytes=1)
    return [
        one._replace(slot=one.slot._replace(ref=resolved(one.slot.ref, (digests or {}).get(one.slot.name), size)))
        for one in listed
    ]


def resolved(ref: Ref, digest: str | None, size: Size | None = None, seen: str = EARLY) -> Ref:
    if digest is None:
        return ref
    scope: Any = "manifest" if ref.scheme == "oci" else "files"
    return replace(
        ref, digest=Digest("sha256", digest * 64, scope, "sha256"), identity=Identity(resolved_at=seen), size=size
    )


def found(manifest: Object, running: Object, *moves: tuple[str, str], **options: Any) -> dict[str, str]:
    """What is stale: the digest or text that runs, by slot."""
    listed = wanted(manifest, **options)
    known: dict[str, list[Move]] = {}
    for one in listed:
        ref = one.slot.ref
        known[ref.canonical] = [Move(resolved(ref, old, seen=NOTICED), resolved(ref, new)) for old, new in moves]
    return {
        one.reference.slot.name: (str(one.running.digest or one.running.canonical) if one.running else "nothing")
        for one in stale(listed, known, [running])
    }


MODEL, IMAGE = "container[vllm].model", "container[vllm].image"
GIT = vllm("org/m")
PINNED = vllm("org/m", "--revision", A)


def test_pods_that_run_what_git_says_are_current() -> None:
    assert found(PINNED, pod(PINNED)) == {}
    assert found(GIT, pod(GIT)) == {}
    assert found(GIT, pod(GIT), digests={MODEL: "a"}) == {}


def test_another_text_is_stale() -> None:
    assert found(PINNED, pod(vllm("org/m", "--revision", B))) == {MODEL: f"hf://org/m@{B}"}
    lora = vllm("org/m", "--lora-modules", "sql=org/sql")
    assert found(lora, pod(GIT)) == {"container[vllm].adapter[sql]": "nothing"}
    assert found(GIT, pod(lora)) == {}  # what is loaded on top is nobody's claim


@pytest.mark.parametrize(("here", "there", "differs"), [("a", "a", False), ("a", "b", True), ("a", "", True)])
def test_another_text_for_the_same_content_is_none(here: str, there: str, differs: bool) -> None:
    """As where a Canary leaves the pods alone, because a commit touches nothing but the card."""
    listed = wanted(PINNED, digests={MODEL: here})
    runs = next(one.slot.ref for one in wanted(vllm("org/m", "--revision", B)) if one.slot.name == MODEL)
    known = {(MODEL, runs.canonical): resolved(runs, there or None)}
    assert bool(stale(listed, {}, [pod(vllm("org/m", "--revision", B))], known)) is differs


def test_when_pods_were_started() -> None:
    pods = [pod(GIT, started=NOTICED), pod(GIT, started=EARLY)]
    early, noticed, late = map(datetime.fromisoformat, (EARLY, NOTICED, LATE))
    assert started(pods) == (early, noticed)
    restarted = pod(GIT, started=EARLY)
    restarted["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": LATE}}
    assert started([*pods, restarted]) == (early, late), "it has loaded anew"
    assert started([*pods, {**pods[0], "status": {"phase": "Running"}}]) == (None, noticed)
    assert started([]) == (None, None)


@pytest.mark.parametrize("gone", ["Succeeded", "Pending", "deleting"])
def test_only_pods_that_serve_count(gone: str) -> None:
    running = pod(vllm("org/other"))
    if gone == "deleting":
        running["metadata"]["deletionTimestamp"] = LATE
    else:
        running["status"]["phase"] = gone
    assert found(GIT, running) == {}


@pytest.mark.parametrize(
    ("moves", "started", "notes", "expected"),
    [
        ([("a", "b")], EARLY, {}, {MODEL: f"sha256:{'a' * 64}"}),
        ([("a", "b")], LATE, {}, {}),
        ([("b", "a"), ("a", "b")], EARLY, {}, {}),  # started with it, and it is back
        ([], EARLY, {}, {}),
        ([("a", "b")], EARLY, {"weir.dev/model-digest.container-vllm-model": f"sha256:{'b' * 64}"}, {}),
    ],
)
def test_a_branch_means_what_it_meant_when_the_pod_started(
    moves: list[tuple[str, str]], started: str, notes: Object, expected: dict[str, str]
) -> None:
    # newest first
    digest = moves[0][1] if moves else "b"
    running = pod(GIT, started=started, notes=notes)
    assert found(GIT, running, *moves, digests={MODEL: digest}) == expected


@pytest.mark.parametrize(
    ("pulled", "moves", "index", "differs"),
    [
        ("b", [], False, False),
        ("a", [], False, True),
        ("a", [], True, False),  # may be one platform of the index
        ("a", [("a", "b")], True, True),  # certainly what the tag meant before
        ("", [], False, False),
    ],
)
def test_the_node_says_which_image_it_has_pulled(
    pulled: str, moves: list[tuple[str, str]], index: bool, differs: bool
) -> None:
    image_id = f"registry.example/vllm@sha256:{pulled * 64}" if pulled else "sha256:" + "0" * 64
    running = pod(GIT, image_id=image_id, started=LATE)
    assert (IMAGE in found(GIT, running, *moves, digests={IMAGE: "b"}, index=index)) is differs


@pytest.mark.parametrize(
    ("git", "runs", "differs"),
    [
        ("vllm/vllm-openai:v1", "mirror.example/hub/vllm/vllm-openai:v1", False),
        ("vllm/vllm-openai:v1", f"vllm/vllm-openai@sha256:{'a' * 64}", False),
        ("vllm/vllm-openai:v1", "vllm/vllm-openai:v2", True),
        (f"vllm/vllm-openai@sha256:{'b' * 64}", f"vllm/vllm-openai@sha256:{'a' * 64}", True),
        ("vllm/vllm-openai:v1", "other/server:v1", True),
    ],
)
def test_what_webhooks_make_of_an_image_is_no_difference(git: str, runs: str, differs: bool) -> None:
    sides = [deployment(container("vllm", image, args=["--model", "org/m"])) for image in (git, runs)]
    assert (IMAGE in found(sides[0], pod(sides[1]))) is differs


def test_kserves_pods_show_what_they_have_fetched() -> None:
    uri = f"hf://org/m:{A}"
    service = obj("serving.kserve.io/v1beta1", "InferenceService", {"predictor": {"model": {"storageUri": uri}}})
    assert pods_of(service) == "serving.kserve.io/inferenceservice=chat,component=predictor"
    fetching = {**container("kserve-container"), "name": "kserve-container"}
    for fetched, expected in ((uri, {}), (f"hf://org/m:{B}", {"predictor.model": f"hf://org/m@{B}"})):
        initializer = container("storage-initializer", "kserve/storage-initializer:v1", args=[fetched, "/mnt/models"])
        running = pod(deployment(fetching, initContainers=[initializer]))
        assert found(service, running) == expected
    assert found(service, pod(deployment(fetching))) == {}  # fetched in a way that nobody knows


def test_objects_without_a_model_are_nobodys_business() -> None:
    listed = references(RenderedSet([deployment(container()), obj("apps/v1", "ReplicaSet", {}), GIT]))
    assert [key.kind for key in serving(listed)] == ["Deployment"]
    assert pods_of({**GIT, "spec": {**GIT["spec"], "selector": {"matchLabels": {"app": "chat"}}}}) == "app=chat"
    assert pods_of(GIT) == ""


def test_the_record_leads_from_what_runs_to_what_git_asks_for() -> None:
    listed = wanted(PINNED)
    differing = stale(listed, {}, [pod(vllm("org/m", "--revision", B))])
    (record,) = stale_records(differing, RenderedSet([PINNED]), "ml/app", "main@sha1:1")
    assert (record.op, record.cause, record.action) == ("stale-serving", "drift", "alert")
    (commit,) = compare([vllm("org/m", "--revision", B)], [PINNED])
    assert record.id != commit.id
    assert record.describe().endswith(f"pods run hf://org/m@{B}, Git asks for hf://org/m@{A}")
