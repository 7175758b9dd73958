"""Which ConfigMaps, Secrets and sources wake which Kustomizations, and in which order."""

from __future__ import annotations

import json
from typing import Any

from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.configs import ConfigKey, ConfigVersion, configs_of, decode_config, watch_configs
from agent.controllers.sources import SourceKey, SourceState, decode_source
from agent.controllers.triggers import SourceChanged, watch_artifacts
from agent.core.dependencies import in_order
from agent.runtime.queue import WorkQueue
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Delete, Init, InitApply, InitDone, Item, ObjectKey

Key = tuple[str, str]
SPEC = {"interval": "10m", "prune": True, "sourceRef": {"kind": "Bucket", "name": "models"}}


def kustomization(name: str, status: dict[str, Any] | None = None, **spec: Any) -> Kustomization:
    metadata = {"namespace": "team", "name": name}
    return Kustomization.from_object({"metadata": metadata, "spec": SPEC | spec, "status": status or {}})


def store_of(*kustomizations: Kustomization) -> Store[Kustomization]:
    store: Store[Kustomization] = Store()
    store.feed(Init())
    for one in kustomizations:
        store.feed(InitApply(Item(ObjectKey(one.namespace, one.name), "1", one)))
    store.feed(InitDone())
    return store


def taken(queue: WorkQueue[Key]) -> list[str]:
    names = []
    while (found := queue.take()) is not None:
        names.append(found[0][1])
    return names


def config(name: str, version: str) -> Item[ConfigVersion]:
    whole = {"metadata": {"namespace": "team", "name": name, "annotations": {"last-applied": "secret"}}}
    return Item(ObjectKey("team", name), version, decode_config(json.dumps(whole).encode()))


def source(name: str, version: str, revision: str | None) -> Item[SourceState]:
    status = {"artifact": {"revision": revision, "digest": "sha256:aa"}} if revision else {}
    whole = {"metadata": {"namespace": "team", "name": name}, "status": status}
    return Item(ObjectKey("team", name), version, decode_source(json.dumps(whole).encode()))


def source_changed(store: Store[Kustomization], queue: WorkQueue[Key]) -> SourceChanged:
    return SourceChanged(store, queue, inputs=lambda _: None, current=lambda _: None)


def test_a_kustomization_names_what_it_reads() -> None:
    references = [{"kind": "ConfigMap", "name": "vars"}, {"kind": "Secret", "name": "vars"}]
    one = kustomization(
        "one",
        postBuild={"substituteFrom": references},
        decryption={"provider": "sops", "secretRef": {"name": "age"}},
        kubeConfig={"secretRef": {"name": "cluster"}},
    )
    names = {("ConfigMap", "vars"), ("Secret", "vars"), ("Secret", "age"), ("Secret", "cluster")}
    assert configs_of(one) == {ConfigKey(kind, "team", name) for kind, name in names}
    cloud = kustomization("cloud", kubeConfig={"configMapRef": {"name": "cloud"}})
    assert configs_of(cloud) == {ConfigKey("ConfigMap", "team", "cloud")}
    assert configs_of(kustomization("none")) == frozenset()


def test_a_change_of_a_config_wakes_who_reads_it_and_the_first_listing_nobody() -> None:
    reads = {"substituteFrom": [{"kind": "Secret", "name": "vars"}]}
    queue: WorkQueue[Key] = WorkQueue()
    secrets: Store[ConfigVersion] = Store()
    config_maps: Store[ConfigVersion] = Store()
    kustomizations = store_of(kustomization("reads", postBuild=reads), kustomization("other"))
    told: list[tuple[Key, str]] = []

    def tell(key: Key, by: str) -> None:
        told.append((key, by))

    watch_configs(kustomizations, queue, ("Secret", secrets), ("ConfigMap", config_maps), told=tell)
    for store in (secrets, config_maps):
        store.feed(Init())
        store.feed(InitApply(config("vars", "1")))
        store.feed(InitDone())
    assert taken(queue) == []
    config_maps.feed(Apply(config("vars", "2")))
    assert taken(queue) == []
    secrets.feed(Apply(config("vars", "2")))
    assert taken(queue) == ["reads"]
    queue.done(("team", "reads"))
    secrets.feed(Delete(ObjectKey("team", "vars")))
    assert taken(queue) == ["reads"]
    assert told == [(("team", "reads"), "Secret/team/vars")] * 2


def test_nothing_of_a_config_is_kept_but_its_name() -> None:
    assert "secret" not in repr(config("vars", "1").value)


def test_a_new_revision_wakes_the_kustomizations_that_have_not_tried_it() -> None:
    ready = {"conditions": [_condition("Ready", "True")], "lastAttemptedRevision": "r2"}
    busy = {"conditions": [_condition("Reconciling", "True")], "lastAttemptedRevision": "r2"}
    failed = {"conditions": [_condition("Ready", "False")], "lastAttemptedRevision": "r2"}
    kustomizations = store_of(
        kustomization("ready", ready),
        kustomization("busy", busy),
        kustomization("failed", failed),
        kustomization("new"),
        kustomization("elsewhere", sourceRef={"kind": "OCIRepository", "name": "models"}),
    )
    queue: WorkQueue[Key] = WorkQueue()
    buckets: Store[SourceState] = Store()
    watch_artifacts("Bucket", buckets, source_changed(kustomizations, queue))
    buckets.feed(Apply(source("models", "1", None)))
    assert taken(queue) == []
    buckets.feed(Apply(source("models", "2", "r2")))
    assert taken(queue) == ["failed", "new"]
    for name in ("failed", "new"):
        queue.done(("team", name))
    buckets.feed(Apply(source("models", "3", "r2")))
    assert taken(queue) == [], "the revision counts, not the version of the object"
    buckets.feed(Apply(source("models", "4", "r3")))
    assert sorted(taken(queue)) == ["busy", "failed", "new", "ready"]


def test_a_source_of_this_process_is_not_followed_by_its_status() -> None:
    spec = {"url": "https://git.example/models.git", "interval": "1m"}
    ours: Store[GitRepository] = Store()
    mine = GitRepository.from_object({"metadata": {"namespace": "team", "name": "ours"}, "spec": spec})
    ours.feed(Apply(Item(ObjectKey("team", "ours"), "1", mine)))
    names = ("ours", "theirs")
    kustomizations = store_of(
        *(kustomization(name, sourceRef={"kind": "GitRepository", "name": name}) for name in names)
    )
    queue: WorkQueue[Key] = WorkQueue()
    repositories: Store[SourceState] = Store()
    watch_artifacts("GitRepository", repositories, source_changed(kustomizations, queue), ours)
    for name in names:
        repositories.feed(Apply(source(name, "1", "main@sha1:1")))
    assert taken(queue) == ["theirs"]


def test_dependencies_are_queued_before_their_dependents() -> None:
    kustomizations = store_of(
        kustomization("a", dependsOn=[{"name": "b"}]),
        kustomization("b", dependsOn=[{"name": "c"}, {"name": "not-here"}]),
        kustomization("c"),
    )
    queue: WorkQueue[Key] = WorkQueue()
    source_changed(kustomizations, queue)(SourceKey("Bucket", "team", "models"))
    assert taken(queue) == ["c", "b", "a"]


def test_a_circle_is_queued_as_it_is() -> None:
    circle = [kustomization("a", dependsOn=[{"name": "b"}]), kustomization("b", dependsOn=[{"name": "a"}])]
    assert in_order(circle) == circle


def _condition(kind: str, status: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
