"""What each command of the `flux` CLI reads, writes and waits for (section 7), told without the command.

Each was tried with the real command too; docs/install.md has the list.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import pytest

from testbed.kube import condition
from tests.scenarios.conformance.flux_command import (
    SHOWN,
    CommandError,
    conditions,
    dry_run,
    events_for,
    handled,
    inventory,
    kstatus,
    ready,
    reconcile,
    settled,
    settled_by_kubernetes,
    suspend,
)
from tests.scenarios.conformance.flux_source import stored
from tests.scenarios.conftest import KS, REPO, Object, RunningAgent, Story, message

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {greeting: %s}\n"
ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'team:reader'}\nrules: []\n"
Agents = Callable[..., AbstractAsyncContextManager[RunningAgent]]


async def a_synced_app(story: Story, **files: str) -> str:
    """A repository and a Kustomization that have come to rest; the commit."""
    head = story.git.commit({"c.yaml": CONFIG % ("c", "hi"), **{f"{name}.yaml": text for name, text in files.items()}})
    await story.source()
    await story.kustomization()
    await story.ready(revision=head)
    await stored(story, revision=head)  # builds begin before the archive is there
    return head


# flux reconcile


async def test_reconcile_is_told_when_its_request_is_handled(story: Story) -> None:
    head = await a_synced_app(story)
    for kind in (REPO, KS):
        name = "repo" if kind is REPO else "app"
        first = await reconcile(story, kind, name)
        second = await reconcile(story, kind, name)
        assert first["status"]["lastHandledReconcileAt"] != second["status"]["lastHandledReconcileAt"]
        assert message(second) == SHOWN[kind[1]].format(f"main@sha1:{head}")


async def test_reconcile_with_source_applies_what_was_pushed_a_moment_before(story: Story) -> None:
    await a_synced_app(story)
    pushed = story.git.commit({"c.yaml": CONFIG % ("c", "pushed")})
    source = await reconcile(story, REPO, "repo")
    assert source["status"]["artifact"]["revision"] == f"main@sha1:{pushed}"
    applied = await reconcile(story, KS, "app")
    assert applied["status"]["lastAppliedRevision"] == f"main@sha1:{pushed}"
    assert (await story.admin.get("v1", "ConfigMap", story.namespace, "c"))["data"] == {"greeting": "pushed"}


async def test_reconcile_refuses_what_is_suspended(story: Story) -> None:
    await a_synced_app(story)
    await suspend(story, KS, "app")
    with pytest.raises(CommandError, match="suspended"):
        await reconcile(story, KS, "app")


async def test_reconcile_waits_on_while_a_failure_may_pass(story: Story) -> None:
    """The request counts as handled, but the object stays in progress until the mended commit is there."""
    await a_synced_app(story)
    story.git.commit({"c.yaml": "not: [yaml"})
    await reconcile(story, REPO, "repo")
    await story.request(KS, "app", "while-broken")
    failed = await story.until(
        KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "while-broken"
    )
    assert ready(failed)["status"] == "False"
    assert kstatus(failed) == "InProgress"
    assert not handled(failed, "")

    story.git.commit({"c.yaml": CONFIG % ("c", "mended")})
    waiting = asyncio.ensure_future(reconcile(story, KS, "app"))
    await reconcile(story, REPO, "repo")
    assert ready(await waiting)["status"] == "True"


async def test_reconcile_ends_at_once_when_only_a_change_of_the_spec_helps(story: Story) -> None:
    await a_synced_app(story)
    await story.source(verify={"mode": "Tag", "secretRef": {"name": "keys"}})
    with pytest.raises(CommandError, match="tag"):
        await reconcile(story, REPO, "repo")
    await story.kustomization(healthCheckExprs=[{"apiVersion": "v1", "kind": "ConfigMap", "current": "data."}])
    with pytest.raises(CommandError, match="CEL expression"):
        await reconcile(story, KS, "app")


# flux suspend, flux resume, flux create


async def test_suspended_objects_keep_their_status_and_resume_waits_for_a_new_pass(story: Story) -> None:
    head = await a_synced_app(story)
    for kind, name in ((REPO, "repo"), (KS, "app")):
        await suspend(story, kind, name)
    pushed = story.git.commit({"c.yaml": CONFIG % ("c", "later")})
    await story.pull("ignored")

    repository = await story.admin.get(*REPO, story.namespace, "repo")
    app = await story.admin.get(*KS, story.namespace, "app")
    assert (repository["spec"]["suspend"], app["spec"]["suspend"]) == (True, True)
    assert repository["status"]["artifact"]["revision"] == f"main@sha1:{head}"
    assert ready(repository)["status"] == ready(app)["status"] == "True"

    for kind, name, field in ((REPO, "repo", "artifact"), (KS, "app", "lastAppliedRevision")):
        resumed = await suspend(story, kind, name, value=False)
        assert not settled(resumed), "the old condition would be taken for the new pass"
        found = await story.until(kind, name, lambda state: state is not None and settled(state))
        assert ready(found)["observedGeneration"] == found["metadata"]["generation"]
        assert pushed in str(found["status"][field])


async def test_create_is_not_told_that_an_object_is_ready_before_it_is(story: Story) -> None:
    """`flux create` polls: whatever it sees first as settled must be the end of the first pass."""
    head = story.git.commit({"c.yaml": CONFIG % ("c", "hi")})
    fresh = await story.source()
    assert fresh["status"] == {"observedGeneration": -1}
    assert not settled(fresh)
    found = await story.until(REPO, "repo", lambda state: state is not None and settled(state))
    assert found["status"]["artifact"]["revision"] == f"main@sha1:{head}"

    fresh = await story.kustomization()
    assert fresh["status"] == {"observedGeneration": -1}
    found = await story.until(KS, "app", lambda state: state is not None and settled(state))
    assert found["status"]["lastAppliedRevision"] == f"main@sha1:{head}"
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "c")


def named_revision(found: Object) -> str:
    """The revision that Ready speaks of: it is in the same write as the condition."""
    if found["kind"] == "GitRepository":
        return str(found["status"]["artifact"]["revision"])
    return str(found["status"]["lastAppliedRevision"])


def assert_consistent(found: Object) -> None:
    """What every state of an object owes its readers (section 9)."""
    status = {entry["type"]: entry["status"] for entry in conditions(found)}
    true = {kind for kind, value in status.items() if value == "True"}
    observed = found.get("status", {}).get("observedGeneration", -1)
    assert not {"Stalled", "Reconciling"} <= true
    if "Ready" in true:
        assert not true & {"Stalled", "FetchFailed", "StorageOperationFailed", "IncludeUnavailable", "ArtifactOutdated"}
        assert observed >= 1
        assert named_revision(found) in message(found)
    if status.get("Ready") == "Unknown":
        assert "Reconciling" in true
    assert observed <= found["metadata"]["generation"]
    for entry in conditions(found):
        assert entry["observedGeneration"] <= found["metadata"]["generation"]
        assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", entry["reason"])


@pytest.mark.parametrize(("kind", "name"), [(REPO, "repo"), (KS, "app")])
async def test_every_state_that_a_watcher_sees_is_one_that_kstatus_understands(
    story: Story, kind: tuple[str, str], name: str
) -> None:
    states: list[Object] = []

    async def watch() -> None:
        def note(state: Object | None) -> bool:
            states.extend([state] if state else [])
            return bool(states) and state is None

        await story.admin.wait_for(*kind, story.namespace, name, note, timeout=280)

    watching = asyncio.ensure_future(watch())
    await a_synced_app(story)
    story.git.commit({"c.yaml": "not: [yaml"})
    await reconcile(story, REPO, "repo")
    await story.failed()
    await story.source(ref={"branch": "absent"})
    await story.failed("repo", "absent", REPO)
    await story.source(verify={"mode": "Tag", "secretRef": {"name": "keys"}})
    await story.failed("repo", "tag", REPO)
    await story.kustomization(healthCheckExprs=[{"apiVersion": "v1", "kind": "ConfigMap", "current": "data."}])
    await story.failed("app", "CEL expression")
    mended = story.git.commit({"c.yaml": CONFIG % ("c", "mended")})
    await story.source()
    await story.kustomization()
    await story.ready(revision=mended)
    await suspend(story, kind, name)
    await suspend(story, kind, name, value=False)
    await story.until(kind, name, lambda state: state is not None and settled(state))
    await story.admin.delete(*kind, story.namespace, name)
    await watching

    for state in states:
        assert_consistent(state)
    assert {kstatus(state) for state in states} == {"Current", "InProgress", "Failed", "Terminating"}


# flux get, flux stats, flux trace, flux tree, flux debug


async def test_get_and_stats_find_their_columns(story: Story) -> None:
    head = await a_synced_app(story)
    repository = await story.admin.get(*REPO, story.namespace, "repo")
    app = await story.admin.get(*KS, story.namespace, "app")
    artifact = repository["status"]["artifact"]
    assert artifact["revision"] == app["status"]["lastAppliedRevision"] == f"main@sha1:{head}"
    assert isinstance(artifact["size"], int)
    assert artifact["size"] > 0
    assert [repository["spec"].get("suspend", False), app["spec"].get("suspend", False)] == [False, False]
    # "True" and the message; hex runs of 40 are cut to 8 by the command
    assert (ready(app)["status"], ready(app)["message"]) == ("True", f"Applied revision: main@sha1:{head}")

    await story.source(ref={"branch": "absent"})
    failed = await story.failed("repo", "absent", REPO)
    assert failed["status"]["artifact"]["revision"] == f"main@sha1:{head}", "get still shows what is in storage"
    assert condition(failed, "Ready") == "False"  # counted by stats as failing


async def test_trace_gets_from_an_object_to_its_repository(story: Story) -> None:
    head = await a_synced_app(story)
    config = await story.admin.get("v1", "ConfigMap", story.namespace, "c")
    labels = config["metadata"]["labels"]
    namespace, name = (labels[f"kustomize.toolkit.fluxcd.io/{part}"] for part in ("namespace", "name"))
    app = await story.admin.get(*KS, namespace, name)
    assert app["status"]["lastAppliedRevision"] == f"main@sha1:{head}"
    source = app["spec"]["sourceRef"]
    repository = await story.admin.get(*REPO, source.get("namespace", namespace), source["name"])
    assert repository["status"]["artifact"]["revision"] == f"main@sha1:{head}"


async def test_tree_reads_the_inventory_and_walks_into_children(story: Story) -> None:
    child = (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: child}\nspec:\n"
        "  interval: 10m\n  prune: true\n  path: ./child\n  sourceRef: {kind: GitRepository, name: repo}\n"
        f"  targetNamespace: {story.namespace}\n"
    )
    story.git.commit({"parent/k.yaml": child, "parent/r.yaml": ROLE, "child/c.yaml": CONFIG % ("c", "hi")})
    await story.source()
    await story.kustomization("parent", path="./parent")
    parent, found = await story.ready("parent"), await story.ready("child")
    home = story.namespace
    assert inventory(parent) == {
        (home, "child", KS[0].partition("/")[0], "Kustomization"),
        (home, "team:reader", "rbac.authorization.k8s.io", "Role"),
    }
    assert inventory(found) == {(home, "c", "", "ConfigMap")}
    assert {entry["v"] for entry in parent["status"]["inventory"]["entries"]} == {"v1"}


async def test_debug_shows_a_history_that_it_can_decode(story: Story) -> None:
    head = await a_synced_app(story)
    story.git.commit({"c.yaml": CONFIG % ("c", "new")})
    await story.pull("new")
    found = await story.until(KS, "app", lambda state: len((state or {})["status"].get("history", ())) == 2)
    newest, first = found["status"]["history"]
    assert first["metadata"] == {"revision": f"main@sha1:{head}"}
    assert newest["lastReconciledStatus"] == first["lastReconciledStatus"] == "ReconciliationSucceeded"
    for entry in (newest, first):
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", entry["digest"])
        assert re.fullmatch(r"([0-9.]+(h|m|s|ms|µs|ns))+", entry["lastReconciledDuration"])
        assert entry["totalReconciliations"] >= 1
        assert datetime.fromisoformat(entry["firstReconciled"]) <= datetime.fromisoformat(entry["lastReconciled"])


# flux export, flux delete


async def test_export_finds_nothing_of_the_agent_s_in_metadata_and_spec(story: Story) -> None:
    await a_synced_app(story)
    for kind, name in ((REPO, "repo"), (KS, "app")):
        await reconcile(story, kind, name)
        found = await story.admin.get(*kind, story.namespace, name)
        assert "labels" not in found["metadata"]
        assert found["metadata"]["annotations"].keys() == {"reconcile.fluxcd.io/requestedAt"}  # by the command
        managers = {entry["manager"] for entry in found["metadata"]["managedFields"] if "f:spec" in entry["fieldsV1"]}
        assert managers == {"test"}


async def test_delete_takes_the_workloads_along(story: Story) -> None:
    await a_synced_app(story)
    await story.admin.delete(*KS, story.namespace, "app")
    await story.until(KS, "app", lambda found: found is None)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "c") is None


# flux events, flux logs


async def test_events_are_found_by_field_selectors_alone(story: Story) -> None:
    head = await a_synced_app(story)
    await story.event("app", "Reconciliation finished")
    of_the_app = await events_for(story, "Kustomization", "app")
    await story.event("repo", "stored artifact")
    of_the_source = await events_for(story, "GitRepository", "repo")
    for found, component in ((of_the_app, "kustomize-controller"), (of_the_source, "source-controller")):
        for event in found:
            assert event["type"] in ("Normal", "Warning")
            assert event["source"]["component"] == component
            # "Last seen" is made of these
            assert datetime.fromisoformat(event["firstTimestamp"]) <= datetime.fromisoformat(event["lastTimestamp"])
            assert event["involvedObject"]["namespace"] == event["metadata"]["namespace"] == story.namespace
    assert any(f"ConfigMap/{story.namespace}/c created" in event["message"] for event in of_the_app)
    revision = "kustomize.toolkit.fluxcd.io/revision"
    assert {event["metadata"]["annotations"][revision] for event in of_the_app} == {f"main@sha1:{head}"}


async def test_log_lines_are_those_that_the_command_can_read(story: Story, weir: RunningAgent) -> None:
    """It skips what is no object, ends at a value that is no string, and at a line of more than 64 KiB."""
    await a_synced_app(story)
    await story.source(ref={"branch": "absent"})
    await story.failed("repo", "absent", REPO)
    written = await asyncio.to_thread(weir.log.read_text)
    lines = written[: written.rindex("\n")].splitlines()  # the last line may be in the making
    read = [json.loads(line) for line in lines if line.startswith("{")]
    assert read
    for line, entry in zip(lines, read, strict=True):
        assert len(line) < 64 * 1024
        for key in ("ts", "level", "msg", "error", "logger", "controllerKind", "name", "namespace"):
            assert isinstance(entry.get(key, ""), str), line
        assert entry["level"] in ("trace", "debug", "info", "error")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["ts"])
    ours = [entry for entry in read if entry.get("namespace") == story.namespace]
    told = {(entry["controllerKind"], entry["name"]) for entry in ours}
    assert told >= {("Kustomization", "app"), ("GitRepository", "repo")}
    assert any("absent" in entry.get("error", "") for entry in ours if entry["level"] == "error")


# flux diff kustomization, flux uninstall


async def test_diff_finds_nothing_after_a_sync_and_every_change_before_one(story: Story) -> None:
    """A server-side dry run as the controller, with the labels of the owner, changes nothing."""
    deployment = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 0\n"
        "  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
        "    spec: {containers: [{name: main, image: web, ports: [{containerPort: 80}]}]}\n"
    )
    await a_synced_app(story, d=deployment)
    owner = {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": story.namespace}
    metadata = {"namespace": story.namespace, "labels": owner}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", **metadata},
        "data": {"greeting": "hi"},
    }
    container = {"name": "main", "image": "web", "ports": [{"containerPort": 80}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", **metadata}, "spec": spec}

    # Kubernetes' own controllers write their part into a Deployment first
    await story.until(("apps/v1", "Deployment"), "web", settled_by_kubernetes)
    for wanted in (config, web):
        live, merged = await dry_run(story, wanted)
        assert merged == live

    live, merged = await dry_run(story, {**config, "data": {"greeting": "changed"}})
    assert (live["data"], merged["data"]) == ({"greeting": "hi"}, {"greeting": "changed"})


async def test_uninstall_clears_finalizers_without_an_agent_and_workloads_stay(story: Story, own_agent: Agents) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "hi")})
    await story.source()
    await story.kustomization()
    async with own_agent():
        await story.ready()
    for kind, name in ((KS, "app"), (REPO, "repo")):
        found = await story.admin.get(*kind, story.namespace, name)
        assert found["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
        await story.admin.patch(*kind, story.namespace, name, {"metadata": {"finalizers": []}})
        await story.admin.delete(*kind, story.namespace, name)
        await story.until(kind, name, lambda state: state is None)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "c")
