"""The applier against an API server in memory: what is known of a write that failed, and what is never deleted."""

from __future__ import annotations

import asyncio

import pytest
from controller_cluster import CONFIG_MAPS, DEPLOYMENTS, GADGETS, LABELS, OWNER, FakeCluster, config_map

from agent.adapters.kube.errors import Cause, Invalid, Malformed, Unavailable
from agent.controllers.kustomization.apply import Applier, ApplyRequest, PartialApplyError
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.changeset import Action
from agent.core.objects import Manifest, ObjectKey
from agent.telemetry.metrics import Metrics

DEPLOYMENT: Manifest = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "chat", "namespace": "team", "labels": {}},
    "spec": {"replicas": 1},
}


def applier() -> Applier:
    return Applier(claimed_by_other=lambda *_: None, shortcuts=Shortcuts(Metrics(), verify=False))


async def test_a_write_without_an_answer_may_have_happened() -> None:
    cluster = FakeCluster()

    def lost(verb: str, name: str) -> None:
        if (verb, name) == ("apply", "a"):
            raise Unavailable("the answer was lost")

    cluster.after = lost
    with pytest.raises(PartialApplyError) as failed:
        await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(config_map("a"),)))
    assert cluster.objects
    assert failed.value.touched


async def test_a_failed_dry_run_has_touched_nothing() -> None:
    cluster = FakeCluster()

    def refuse(verb: str, _name: str, _body: Manifest) -> None:
        if verb == "dry-run":
            raise Invalid("no")

    cluster.refuse = refuse
    with pytest.raises(PartialApplyError) as failed:
        await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(config_map("a"),)))
    assert not failed.value.touched


async def test_dry_runs_begin_before_the_inventory_is_stored_and_writes_do_not() -> None:
    cluster, ready = FakeCluster(), asyncio.get_running_loop().create_future()
    request = ApplyRequest(owner=OWNER, objects=(config_map("a"),), ready=ready)
    applying = asyncio.create_task(applier().apply(cluster.target, request))
    for _ in range(20):
        await asyncio.sleep(0)
    assert cluster.calls == ["dry-run ConfigMap/a"]
    ready.set_result(None)
    await applying
    assert cluster.calls[1:] == ["apply ConfigMap/a"]


async def test_who_else_claims_an_object_is_asked_once_the_status_tells_of_the_revision() -> None:
    cluster, ready = FakeCluster(), asyncio.get_running_loop().create_future()
    held = config_map("a")
    labels = {"kustomize.toolkit.fluxcd.io/name": "other", "kustomize.toolkit.fluxcd.io/namespace": OWNER[0]}
    cluster.put(CONFIG_MAPS, {**held, "metadata": {**held["metadata"], "labels": labels}})
    claims = Applier(
        claimed_by_other=lambda *_: "it is taken" if ready.done() else None,
        shortcuts=Shortcuts(Metrics(), verify=False),
    )
    request = ApplyRequest(owner=OWNER, objects=(config_map("a"),), ready=ready)
    applying = asyncio.create_task(claims.apply(cluster.target, request))
    for _ in range(20):
        await asyncio.sleep(0)
    ready.set_result(None)
    with pytest.raises(PartialApplyError, match="it is taken"):
        await applying


async def test_nothing_is_written_if_the_inventory_cannot_be_stored() -> None:
    cluster, ready = FakeCluster(), asyncio.get_running_loop().create_future()
    ready.set_exception(Unavailable("the status was not written"))
    request = ApplyRequest(owner=OWNER, objects=(config_map("a"),), ready=ready)
    with pytest.raises(Unavailable, match="the status was not written"):
        await applier().apply(cluster.target, request)
    assert not cluster.objects


def rules(verb: str, name: str, body: Manifest) -> None:
    """Replicas may not be negative, and the strategy of `chat` may not change."""
    causes = []
    if body.get("spec", {}).get("replicas", 1) < 0:
        causes.append(
            Cause("FieldValueInvalid", "Invalid value: -1: must be greater than or equal to 0", "spec.replicas")
        )
    if name == "chat" and "strategy" in body.get("spec", {}):
        causes.append(Cause("FieldValueInvalid", "Invalid value: field is immutable", "spec.strategy"))
    if causes and verb != "delete":
        raise Invalid("; ".join(f"{cause.field}: {cause.message}" for cause in causes), causes=tuple(causes))


async def test_an_object_whose_new_form_is_invalid_is_not_deleted_to_be_recreated() -> None:
    cluster = FakeCluster()
    cluster.put(DEPLOYMENTS, DEPLOYMENT)
    cluster.refuse = rules
    wrong = {**DEPLOYMENT, "spec": {"replicas": -1, "strategy": "x"}}
    with pytest.raises(PartialApplyError, match="must be greater"):
        await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(wrong,), force=True))
    assert not [call for call in cluster.calls if call.startswith("delete")]
    assert cluster.objects


async def test_an_object_whose_immutable_field_changes_is_recreated_if_forced() -> None:
    cluster = FakeCluster()
    cluster.put(DEPLOYMENTS, DEPLOYMENT)

    def refuse(verb: str, name: str, body: Manifest) -> None:
        if cluster.objects:
            rules(verb, name, body)

    cluster.refuse = refuse
    changed = {**DEPLOYMENT, "spec": {"replicas": 2, "strategy": "x"}}
    await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(changed,), force=True))
    assert "delete Deployment/chat" in cluster.calls
    assert next(iter(cluster.objects.values()))["spec"] == {"replicas": 2, "strategy": "x"}


async def test_an_object_is_asked_about_again_while_its_watch_is_broken() -> None:
    cluster = FakeCluster()
    subject, request = applier(), ApplyRequest(owner=OWNER, objects=(config_map("a"),))
    await subject.apply(cluster.target, request)
    await subject.apply(cluster.target, request)
    assert cluster.calls.count("get ConfigMap/a") == 0

    cluster.live.reliable = False
    cluster.put(CONFIG_MAPS, config_map("a", "by hand"))
    await subject.apply(cluster.target, request)
    assert cluster.calls.count("get ConfigMap/a") == 1
    assert next(iter(cluster.objects.values()))["data"] == {"value": "x"}


@pytest.mark.parametrize("verify", [False, True])
async def test_objects_of_others_that_bear_no_labels_are_found_by_their_first_dry_run(verify: bool) -> None:
    cluster, metrics = FakeCluster(), Metrics()
    cluster.put(CONFIG_MAPS, _without_labels(config_map("theirs"), {"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}))
    cluster.put(CONFIG_MAPS, _without_labels(config_map("once", "by hand")))
    once = config_map("once")
    once["metadata"]["annotations"] = {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
    objects = (config_map("theirs", "git"), once, config_map("new"))
    subject = Applier(claimed_by_other=lambda *_: None, shortcuts=Shortcuts(metrics, verify=verify))
    done = await subject.apply(cluster.target, ApplyRequest(owner=OWNER, objects=objects))
    assert {change.key.name: change.action for change in done.changes} == {
        "theirs": Action.SKIPPED,
        "once": Action.SKIPPED,
        "new": Action.CREATED,
    }
    assert _values(cluster) == {"theirs": "x", "once": "by hand", "new": "x"}
    assert ("get ConfigMap/new" in cluster.calls) == verify
    told = metrics.render().decode()
    assert ('weir_shortcuts_verified_total{shortcut="new"} 3.0' in told) == verify
    assert "weir_shortcut_differences_total{" not in told


async def test_what_is_left_alone_may_be_invalid() -> None:
    cluster = FakeCluster()
    cluster.put(DEPLOYMENTS, _without_labels(DEPLOYMENT, {"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}))
    cluster.refuse = rules
    wrong = {**DEPLOYMENT, "spec": {"replicas": -1}}
    done = await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(wrong,)))
    assert [change.action for change in done.changes] == [Action.SKIPPED]


async def test_a_new_object_that_is_refused_is_tried_once() -> None:
    cluster = FakeCluster()
    cluster.refuse = rules
    wrong = {**DEPLOYMENT, "spec": {"replicas": -1}}
    with pytest.raises(PartialApplyError, match="must be greater"):
        await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(wrong,)))
    assert cluster.calls == ["dry-run Deployment/chat", "get Deployment/chat"]


async def test_what_the_inventory_has_is_looked_at_before_it_is_tried() -> None:
    cluster = FakeCluster()
    stored = frozenset({ObjectKey("", "ConfigMap", "team", "a")})
    await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(config_map("a"),), stored=stored))
    assert cluster.calls == ["get ConfigMap/a", "dry-run ConfigMap/a", "apply ConfigMap/a"]


def _without_labels(manifest: Manifest, annotations: dict[str, str] | None = None) -> Manifest:
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "labels"}
    return {**manifest, "metadata": {**metadata, "annotations": annotations or {}}}


def _values(cluster: FakeCluster) -> dict[str, str]:
    return {found["metadata"]["name"]: found["data"]["value"] for found in cluster.objects.values()}


async def test_drift_of_a_cluster_wide_object_is_seen_although_its_manifest_names_a_namespace() -> None:
    cluster = FakeCluster()
    gadget = {
        "apiVersion": "example.org/v1",
        "kind": "Gadget",
        "metadata": {"name": "g", "namespace": "useless", "labels": dict(LABELS)},
        "spec": {"size": 1},
    }
    subject, request = applier(), ApplyRequest(owner=OWNER, objects=(gadget,))
    await subject.apply(cluster.target, request)
    live = next(iter(cluster.objects.values()))
    assert "namespace" not in live["metadata"]

    # What the watch reports, under the name that the API server knows.
    key = ObjectKey("example.org", "Gadget", "", "g")
    assert cluster.memory.applied_by(key) == OWNER
    changed = cluster.put(GADGETS, {**live, "spec": {"size": 2}})
    cluster.live.observe(key, changed)
    await subject.apply(cluster.target, request)
    assert next(iter(cluster.objects.values()))["spec"] == {"size": 1}


def knows_replicas_only(_verb: str, _name: str, body: Manifest) -> None:
    """An API server that names one field at a time that Deployments do not have, as the real one does."""
    for field in body["spec"].keys() - {"replicas"}:
        raise Malformed(f"failed to create typed patch object (x): .spec.{field}: field not declared in schema")


async def test_a_field_that_the_kind_does_not_have_is_left_out_and_asked_about_once() -> None:
    cluster = FakeCluster()
    cluster.refuse = knows_replicas_only
    misspelt = {**DEPLOYMENT, "spec": {"replicas": 1, "replica": 2, "count": 3}}
    subject, request = applier(), ApplyRequest(owner=OWNER, objects=(misspelt,))
    (change,) = (await subject.apply(cluster.target, request)).changes
    assert change.undeclared == (".spec.count", ".spec.replica")
    assert next(iter(cluster.objects.values()))["spec"] == {"replicas": 1}
    asked = len(cluster.calls)
    (again,) = (await subject.apply(cluster.target, request)).changes
    assert (again.action.value, len(cluster.calls)) == ("unchanged", asked)


async def test_what_else_is_wrong_with_the_form_of_an_object_is_told_in_the_api_server_s_words() -> None:
    cluster = FakeCluster()

    def refuse(verb: str, _name: str, _body: Manifest) -> None:
        if verb == "dry-run":
            raise Malformed("failed to create typed patch object (x): .spec.replicas: expected numeric, got string")

    cluster.refuse = refuse
    with pytest.raises(PartialApplyError) as failed:
        await applier().apply(cluster.target, ApplyRequest(owner=OWNER, objects=(DEPLOYMENT,)))
    assert failed.value.message == (
        "Deployment/team/chat dry-run failed: failed to create typed patch object (x): "
        ".spec.replicas: expected numeric, got string"
    )
    assert cluster.calls.count("dry-run Deployment/chat") == 1
