"""Pods of models that cannot be loaded: objects with the status of a crash loop, which nothing runs."""

from collections.abc import Mapping

from testbed.kube import Admin, ApiError, Object

_LABEL = "testbed.weir.dev/crashed"
_STATUS: Object = {
    "phase": "Pending",
    "initContainerStatuses": [
        {
            "name": "storage-initializer",
            "image": "storage-initializer",
            "imageID": "",
            "ready": False,
            "restartCount": 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such model"}},
        }
    ],
}


async def keep_crashed(admin: Admin, namespace: str, wanted: Mapping[str, Mapping[str, str]]) -> None:
    """Exactly one crashed Pod for each of these workloads, with the workload's labels."""
    names = {f"{workload}-5d9c4f7b86-x1y2z": labels for workload, labels in wanted.items()}
    present = {pod["metadata"]["name"] for pod in await admin.list("v1", "Pod", namespace, selector=_LABEL)}
    for name in present - names.keys():
        await admin.delete("v1", "Pod", namespace, name, missing_ok=True)
    for name in names.keys() - present:
        metadata = {"name": name, "namespace": namespace, "labels": {**names[name], _LABEL: "true"}}
        container = {"name": "storage-initializer", "image": "storage-initializer"}
        spec = {"initContainers": [container], "containers": [{"name": "kserve-container", "image": "server"}]}
        try:
            pod = await admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
            path = (await admin.resource("v1", "Pod")).path(namespace, name, "status")
            await admin.request("PUT", path, body={**pod, "status": _STATUS})
        except ApiError as error:
            if error.status not in {403, 404, 409}:  # the namespace is going, or somebody else was at it
                raise
