"""The process node: registers a Node, binds pending Pods to it and runs them as local processes."""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from testbed.node.backoff import BackOff
from testbed.node.binder import Binder
from testbed.node.events import EventRecorder
from testbed.node.images import Image
from testbed.node.kubeapi import Access, ApiError, EventType, KubeApi, Obj
from testbed.node.logs import LogServer
from testbed.node.pod import NodeContext, PodWorker
from testbed.node.ports import LocalPorts
from testbed.node.status import timestamp, utc_now

_log = logging.getLogger(__name__)
_LEASE_SECONDS = 40
_RENEW_SECONDS = 10
_STATUS_EVERY = 6  # renewals
_STOP_GRACE_SECONDS = 2.0
_ALLOCATABLE = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "256Gi", "pods": "500", "nvidia.com/gpu": "16"}


class ProcessNode:
    """A Kubernetes node for tests and demos: every container is a local process.

    What it is not: there is no isolation (no namespaces, cgroups, users, read-only roots or resource limits; a
    container sees the whole machine), no network (a Pod's address is never dialled, see ``testbed.node.ports``;
    no cluster DNS, no NetworkPolicy), no scheduler (pending Pods are bound to this node if their nodeSelector
    allows, whatever they request), and no image content: an image is a name with a local program behind it
    (``images``). Of the kubelet's API there is what ``kubectl logs`` and ``flux logs`` read, without times and
    earlier runs; no ``exec``. ``log_path`` names the file behind it.

    Since there are no mounts, every mountPath in a container's command, args, workingDir and environment is
    rewritten to the folder that plays the volume. Pods that mount a ServiceAccount token get ``KUBECONFIG``,
    pointing to a kubeconfig that uses this very token. Restarts back off as the kubelet's do, but from
    ``backoff`` (1 s doubling to 30 s unless told otherwise, where the kubelet has 10 s and 5 min).

    Use it as an async context manager or with start and stop. ``images`` may change while it runs.
    """

    def __init__(
        self,
        access: Access,
        *,
        workdir: Path,
        images: Mapping[str, Image],
        name: str = "process-node",
        labels: Mapping[str, str] | None = None,
        pod_cidr: str = "10.244.0.0/16",
        backoff: BackOff | None = None,
        refresh_seconds: float = 30,
    ) -> None:
        self.name = name
        self._access = access
        self._workdir = workdir
        self._images = images
        self._labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **(labels or {})}
        self._addresses = _addresses(pod_cidr)
        self._backoff = backoff or BackOff()
        self._refresh_seconds = refresh_seconds
        self._workers: dict[str, PodWorker] = {}
        self._closing = asyncio.Event()
        self._ready = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._log_port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, timeout: float = 120) -> None:
        """Register the Node and start to run Pods; returns once the Node is Ready.

        Raises TimeoutError, or what kept it from starting.
        """
        self._main = asyncio.create_task(self._run(), name=self.name)
        ready = asyncio.create_task(self._ready.wait())
        try:
            done, _ = await asyncio.wait({self._main, ready}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._main in done:
            await self._main
        if not done:
            await self.stop()
            raise TimeoutError(f"node {self.name} is not registered after {timeout} s")

    async def stop(self) -> None:
        """End all processes (SIGTERM, SIGKILL after two seconds); the objects stay as with a stopped machine."""
        if self._main is None:
            return
        self._closing.set()
        await self._main
        self._main = None

    def log_path(self, namespace: str, pod: str, container: str) -> Path:
        """The file with the output of a container, over all its restarts."""
        return NodeContext.log_file(self._workdir, namespace, pod, container)

    async def _run(self) -> None:
        async with KubeApi(self._access) as api, LogServer(self._workdir / "kubelet", self.log_path) as logs:
            self._log_port = logs.port
            events = EventRecorder(api, self.name)
            context = NodeContext(
                api=api,
                access=self._access,
                events=events,
                images=self._images,
                workdir=self._workdir,
                backoff=self._backoff,
                allocatable=_ALLOCATABLE,
                refresh_seconds=self._refresh_seconds,
                ports=LocalPorts(),
            )
            await self._register(api)
            binder = Binder(api, self.name)
            async with asyncio.TaskGroup() as group, asyncio.TaskGroup() as pods:
                attendants = [
                    group.create_task(self._heartbeat(api)),
                    group.create_task(binder.run()),
                    group.create_task(events.run()),
                    group.create_task(
                        api.follow("/api/v1/pods", lambda k, pod: self._on_pod(k, pod, context, binder, pods))
                    ),
                ]
                self._ready.set()
                await self._closing.wait()
                for task in attendants:
                    task.cancel()
                for worker in self._workers.values():
                    worker.detach(_STOP_GRACE_SECONDS)

    def _on_pod(self, kind: EventType, pod: Obj, context: NodeContext, binder: Binder, pods: asyncio.TaskGroup) -> None:
        uid, bound_to = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        if not bound_to:
            binder.note(kind, pod)
            return
        binder.forget(uid)
        if kind == "DELETED":
            worker = self._workers.pop(uid, None)
            if worker is not None:
                worker.vanished()
        elif uid in self._workers:  # also one that has ended: its last events come after its end
            self._workers[uid].update(pod)
        elif bound_to == self.name and not self._closing.is_set():
            worker = self._workers[uid] = PodWorker(context, pod, self._address_of(pod))
            pods.create_task(worker.run(), name=str(pod["metadata"]["name"]))

    def _address_of(self, pod: Obj) -> str:
        earlier = pod.get("status", {}).get("podIP")
        if earlier:
            return str(earlier)
        used = {worker.ip for worker in self._workers.values()}
        return next(address for address in self._addresses if address not in used)

    async def _register(self, api: KubeApi) -> None:
        node: Obj = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self._labels},
        }
        try:
            await api.create("/api/v1/nodes", node)
        except ApiError as error:
            if error.status != 409:
                raise
            await api.patch(f"/api/v1/nodes/{self.name}", {"metadata": {"labels": self._labels}})
        await self._report(api)

    async def _report(self, api: KubeApi) -> None:
        now = timestamp(utc_now())
        kinds = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
        conditions = [
            {
                "type": kind,
                "status": "True" if kind == "Ready" else "False",
                "reason": "ProcessNode",
                "message": "",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind in kinds
        ]
        status = {
            "capacity": _ALLOCATABLE,
            "allocatable": _ALLOCATABLE,
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": self.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._log_port}},
            "nodeInfo": {"operatingSystem": "linux", "kubeletVersion": "v0.0.0-process-node"},
        }
        await api.patch(f"/api/v1/nodes/{self.name}/status", {"status": status}, "strategic-merge-patch")

    async def _heartbeat(self, api: KubeApi) -> None:
        """Renew the node's Lease every ten seconds and its status every minute, whatever happens."""
        beat = 0
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ApiError):
                await self._renew(api)
                if beat % _STATUS_EVERY == 0:
                    await self._report(api)
                beat += 1
            await asyncio.sleep(_RENEW_SECONDS if beat else 0.5)

    async def _renew(self, api: KubeApi) -> None:
        collection = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await api.patch(f"{collection}/{self.name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}}
            await api.create(collection, {**lease, "spec": spec})


def _addresses(cidr: str) -> Iterator[str]:
    """All host addresses of a network, round and round."""
    while True:
        yield from (str(address) for address in ipaddress.ip_network(cidr).hosts())
