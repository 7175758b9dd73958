"""What the `flux` command 2.9 does with objects: its requests, and the rules by which it waits and prints.

Written from what the command was seen to do against a real control plane; the command itself is not part of the tests.
"""

from __future__ import annotations

import time
from typing import Any

from tests.scenarios.conftest import Object, Story, message

SHOWN = {"GitRepository": "stored artifact for revision '{}'", "Kustomization": "Applied revision: {}"}
"""The message of Ready when all is well; scripts read it."""


class CommandError(Exception):
    """The command would end with this message and a status other than 0."""


def ready(found: Object | None) -> Object:
    """The Ready condition, or nothing."""
    return next((entry for entry in conditions(found) if entry["type"] == "Ready"), {})


def conditions(found: Object | None) -> list[Object]:
    """All conditions."""
    return list((found or {}).get("status", {}).get("conditions", ()))


def kstatus(found: Object) -> str:
    """Current, InProgress, Failed or Terminating, as the library that the command links decides for custom kinds."""
    if found["metadata"].get("deletionTimestamp"):
        return "Terminating"
    if (
        found.get("status", {}).get("observedGeneration", found["metadata"]["generation"])
        != (found["metadata"]["generation"])
    ):
        return "InProgress"
    true = {entry["type"] for entry in conditions(found) if entry["status"] == "True"}
    if "Reconciling" in true:
        return "InProgress"
    if "Stalled" in true:
        return "Failed"
    return "Current" if ready(found).get("status", "True") == "True" else "InProgress"


def settled(found: Object) -> bool:
    """What `resume` and `create` wait for. Raises CommandError where they give up."""
    observed = found.get("status", {}).get("observedGeneration", 0)
    condition = ready(found)
    if observed < 1 or not condition:
        return False
    if (condition.get("observedGeneration") or observed) != found["metadata"]["generation"]:
        return False
    return _current(found)


def handled(found: Object, before: str) -> bool:
    """What `reconcile` waits for, with `before` the request that was handled last. Raises CommandError as it does."""
    if found.get("status", {}).get("lastHandledReconcileAt", "") == before:
        return False
    return _current(found)


def _current(found: Object) -> bool:
    status = kstatus(found)
    if status in ("Failed", "Terminating"):
        raise CommandError(message(found, "Stalled") or status)
    return status == "Current"


async def reconcile(story: Story, kind: tuple[str, str], name: str) -> Object:
    """`flux reconcile`: ask, and wait until the request is handled."""
    before = await story.admin.get(*kind, story.namespace, name)
    if before["spec"].get("suspend"):
        raise CommandError("resource is suspended")
    last = before.get("status", {}).get("lastHandledReconcileAt", "")
    await story.request(kind, name, f"{time.time_ns()}")
    found = await story.until(kind, name, lambda state: state is not None and handled(state, last))
    if ready(found).get("status") != "True":
        raise CommandError(f"reconciliation failed: '{message(found)}'")
    return found


async def suspend(story: Story, kind: tuple[str, str], name: str, value: bool = True) -> Object:
    """`flux suspend`, or the first half of `flux resume`."""
    return await story.admin.patch(*kind, story.namespace, name, {"spec": {"suspend": value}})


async def events_for(story: Story, kind: str, name: str) -> list[Object]:
    """`flux events --for kind/name`: by field selectors alone."""
    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    path = f"/api/v1/namespaces/{story.namespace}/events"
    found: dict[str, Any] = await story.admin.request("GET", path, params={"fieldSelector": selector})
    return list(found["items"])


def inventory(found: Object) -> set[tuple[str, str, str, str]]:
    """Namespace, name, group and kind of each entry, taken apart from both ends as the command does.

    A colon in a name, as roles have, is written as two underscores.
    """
    entries = set()
    for entry in found["status"]["inventory"]["entries"]:
        assert entry.keys() == {"id", "v"}
        namespace, _, rest = entry["id"].partition("_")
        rest, _, kind = rest.rpartition("_")
        name, _, group = rest.rpartition("_")
        entries.add((namespace, name.replace("__", ":"), group, kind))
    return entries


def settled_by_kubernetes(found: Object | None) -> bool:
    """Whether Kubernetes' own controller has written its part: with the first status there are its annotations."""
    return bool((found or {}).get("status"))


async def dry_run(story: Story, wanted: Object) -> tuple[Object, Object]:
    """The live object and what it would become, but for times and what Kubernetes' own controllers write."""
    resource = await story.admin.resource(wanted["apiVersion"], wanted["kind"])
    path = resource.path(story.namespace, wanted["metadata"]["name"])
    live = await story.admin.request("GET", path)
    params = {"dryRun": "All", "fieldManager": "kustomize-controller", "force": "true"}
    merged = await story.admin.request(
        "PATCH", path, params=params, body=wanted, content_type="application/apply-patch+yaml"
    )
    for found in (live, merged):
        found.pop("status", None)
        del found["metadata"]["managedFields"], found["metadata"]["resourceVersion"]
    return live, merged
