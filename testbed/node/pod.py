"""One Pod bound to the node, from its first volume to the deletion of its object."""

import asyncio
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from testbed.node.backoff import BackOff
from testbed.node.container import ContainerRunner, ImageError, RestartPolicy
from testbed.node.environment import CommandLine, SourceKind, command_line, listening_locally, resolve_environment
from testbed.node.events import EventRecorder
from testbed.node.images import Image, find_image
from testbed.node.kubeapi import Access, ApiError, KubeApi, Obj
from testbed.node.ports import PORTS_ANNOTATION, LocalPorts, pod_ports
from testbed.node.status import ContainerView, PodView, Role, pod_status, utc_now
from testbed.node.volumes import PodVolumes, VolumeError, kubeconfig, write_file

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What the Pods of one node share."""

    api: KubeApi
    access: Access
    events: EventRecorder
    images: Mapping[str, Image]
    workdir: Path
    backoff: BackOff
    allocatable: dict[str, str]
    refresh_seconds: float
    ports: LocalPorts
    pulled: set[str] = field(default_factory=set)

    @staticmethod
    def log_file(workdir: Path, namespace: str, pod: str, container: str) -> Path:
        """The file with the output of a container, over all its restarts."""
        return workdir / "logs" / namespace / pod / f"{container}.log"


class PodWorker:
    """Runs one Pod; the node tells it about changes of the object through ``update`` and ``vanished``."""

    def __init__(self, node: NodeContext, pod: Obj, ip: str) -> None:
        metadata = pod["metadata"]
        self.name = str(metadata["name"])
        self.namespace = str(metadata["namespace"])
        self.uid = str(metadata["uid"])
        self._node = node
        self._pod = pod
        self._ip = ip
        self._path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self._folder = node.workdir / "pods" / self.uid
        self._ports = node.ports.allocate(pod_ports(pod, node.images))
        self._volumes = PodVolumes(
            node.api,
            pod,
            self._folder / "volumes",
            lookup=self._lookup,
            images=node.images,
            claims=node.workdir / "claims",
            allocatable=node.allocatable,
        )
        self._digests: dict[str, str] = {}
        self._started_at = utc_now()
        self._sandbox = False
        self._failure = ("", "")
        self._published: Obj = pod.get("status") or {}
        self._finished_before = self._published.get("phase") in {"Succeeded", "Failed"}
        self._deadline = float("inf")
        self._ending = asyncio.Event()
        self._released = asyncio.Event()
        self._gone = False
        self._dirty = asyncio.Event()
        self._runners = list(self._make_runners())
        self.update(pod)

    @property
    def folder(self) -> Path:
        """The Pod's own folder, where its programs start."""
        return self._folder

    @property
    def ip(self) -> str:
        """The Pod's address, which nobody dials."""
        return self._ip

    @property
    def grace_seconds(self) -> float:
        """terminationGracePeriodSeconds of the Pod."""
        return float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))

    def update(self, pod: Obj) -> None:
        """Take in a newer state of the object; a deletion asked for starts the end of the containers."""
        self._pod = pod
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            self._end(float(metadata.get("deletionGracePeriodSeconds") or 0))
            self._released.set()

    def vanished(self) -> None:
        """The object is gone from the API: end at once, without a trace in the API."""
        self._gone = True
        self._end(0)
        self._released.set()

    def detach(self, grace_seconds: float) -> None:
        """The node stops: end the processes and leave the object alone, as a stopped machine does."""
        self._gone = True
        self._end(grace_seconds)
        self._released.set()

    async def run(self) -> None:
        """Run the Pod until its object is deleted (or the worker detached); leaves no process behind."""
        try:
            async with asyncio.TaskGroup() as group:
                publisher = group.create_task(self._publish_changes())
                attendants = [group.create_task(self._stop_on_request()), group.create_task(self._refresh())]
                await self._live()
                for task in attendants:
                    task.cancel()
                await self._released.wait()
                publisher.cancel()
            if not self._gone:
                await self._publish()
                await self._delete()
        finally:
            self._node.ports.release(self._ports.values())
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def prepare(self, container: Obj) -> CommandLine:
        """What a container executes; ImageError or ConfigError while something is missing."""
        image = await self._pull(container)
        self._digests[container["name"]] = image.digest
        mounts = self._volumes.mounts_of(container)
        if container.get("terminationMessagePath"):
            mounts = mounts.with_file(container["terminationMessagePath"], self.termination_log_of(container))
        env = self._base_environment(image)
        token_file = self._volumes.token_file(container)
        if token_file is not None:
            env["KUBECONFIG"] = str(await self._write_kubeconfig(container["name"], token_file))
        pod = {**self._pod, "status": {**(self._pod.get("status") or {}), "podIP": self._ip}}
        own = dict(env)
        env = await resolve_environment(pod, container, env, self._lookup, self._node.allocatable)
        command = command_line(container, image, env, mounts, own)
        return listening_locally(command, self._ports) if image.remaps_ports else command

    def _shown(self, view: ContainerView) -> ContainerView:
        return replace(view, digest=self._digests.get(view.name, ""))

    def port_of(self, container: Obj, port: int | str) -> int:
        """The local port behind a container port number or name; an unknown name is port 0."""
        if isinstance(port, str):
            named = {p.get("name"): p["containerPort"] for p in container.get("ports") or []}
            port = int(named.get(port) or (port if port.isdigit() else 0))
        return self._ports.get(port, port)

    def termination_log_of(self, container: Obj) -> Path:
        """The file that plays terminationMessagePath."""
        return self._folder / f"{container['name']}.termination"

    def log_of(self, container: Obj) -> Path:
        """The file that takes the container's output."""
        return NodeContext.log_file(self._node.workdir, self.namespace, self.name, str(container["name"]))

    def changed(self, message: tuple[str, str] | None = None) -> None:
        """Something about the Pod changed: publish it soon; (reason, message) also becomes an Event."""
        self._dirty.set()
        if message is not None:
            self._node.events.record(self._pod, *message)

    def _make_runners(self) -> Iterator[ContainerRunner]:
        spec = self._pod["spec"]
        policy: RestartPolicy = spec.get("restartPolicy") or "Always"
        init_policy: RestartPolicy = "Never" if policy == "Never" else "OnFailure"
        inits = spec.get("initContainers") or []
        reason = "PodInitializing" if inits else "ContainerCreating"
        for container in inits:
            is_sidecar = container.get("restartPolicy") == "Always"
            yield self._runner(container, "sidecar" if is_sidecar else "init", "Always" if is_sidecar else init_policy)
        for container in spec["containers"]:
            yield self._runner(container, "main", policy, reason)

    def _runner(
        self, container: Obj, role: Role, policy: RestartPolicy, reason: str = "PodInitializing"
    ) -> ContainerRunner:
        lists = ("containerStatuses", "initContainerStatuses")
        before = [c for key in lists for c in self._published.get(key) or [] if c["name"] == container["name"]]
        restarts = int(before[0]["restartCount"]) + (1 if before[0].get("containerID") else 0) if before else 0
        return ContainerRunner(
            container,
            self,
            role=role,
            policy=policy,
            backoff=self._node.backoff,
            restarts=restarts,
            reason=reason,
        )

    def _of_role(self, *roles: Role) -> list[ContainerRunner]:
        return [runner for runner in self._runners if runner.role in roles]

    async def _live(self) -> None:
        if self._finished_before or not await self._set_up():
            return
        async with asyncio.TaskGroup() as sidecars:
            if await self._initialize(sidecars):
                async with asyncio.TaskGroup() as mains:
                    for runner in self._of_role("main"):
                        mains.create_task(runner.run())
            deadline = min(self._deadline, time.monotonic() + self.grace_seconds)
            for runner in self._of_role("sidecar"):
                runner.stop(deadline)

    async def _set_up(self) -> bool:
        """Publish the port mapping and fill the volumes, trying again until it works; False when ended before."""
        while not self._ending.is_set():
            try:
                if self._ports:
                    mapping = json.dumps({str(port): local for port, local in sorted(self._ports.items())})
                    await self._node.api.patch(self._path, {"metadata": {"annotations": {PORTS_ANNOTATION: mapping}}})
                await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
                await self._volumes.sync(self._pod)
            except VolumeError as error:
                self.changed(("FailedMount", str(error)))
            except (ApiError, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                self.changed(("FailedMount", str(error)))
            else:
                self._sandbox = True
                self.changed()
                return True
            await self._pause(_RETRY_SECONDS)
        return False

    async def _initialize(self, sidecars: asyncio.TaskGroup) -> bool:
        for runner in self._of_role("init", "sidecar"):
            if self._ending.is_set():
                return False
            if runner.role == "sidecar":
                sidecars.create_task(runner.run())
                await runner.settled.wait()
                continue
            await runner.run()
            if not runner.succeeded:
                return False
        return not self._ending.is_set()

    def _end(self, grace_seconds: float) -> None:
        self._deadline = min(self._deadline, time.monotonic() + grace_seconds)
        if self._ending.is_set():
            for runner in self._of_role("init", "main"):
                runner.stop(self._deadline)
        self._ending.set()

    async def _stop_on_request(self) -> None:
        try:
            async with asyncio.timeout(self._pod["spec"].get("activeDeadlineSeconds")):
                await self._ending.wait()
        except TimeoutError:
            self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self._end(self.grace_seconds)
        for runner in self._of_role("init", "main"):
            runner.stop(self._deadline)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return

    async def _refresh(self) -> None:
        """Bring changed ConfigMaps, Secrets and tokens into the volumes from time to time."""
        while True:
            await asyncio.sleep(self._node.refresh_seconds)
            if not self._sandbox:
                continue
            try:
                await self._volumes.sync(self._pod)
            except (VolumeError, ApiError, aiohttp.ClientError, OSError) as error:
                _log.debug("volumes of %s/%s: %s", self.namespace, self.name, error)

    async def _publish_changes(self) -> None:
        self._dirty.set()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._publish()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                _log.debug("status of %s/%s: %s", self.namespace, self.name, error)
                await asyncio.sleep(_RETRY_SECONDS)
                self._dirty.set()

    async def _publish(self) -> None:
        if self._finished_before or self._gone:
            return
        view = PodView(
            containers=[self._shown(runner.view) for runner in self._runners],
            ip=self._ip,
            sandbox=self._sandbox,
            started_at=self._started_at,
            reason=self._failure[0],
            message=self._failure[1],
        )
        status = pod_status(self._pod, view, self._published.get("conditions") or [])
        if status == self._published:
            return
        body = {"metadata": {"uid": self.uid}, "status": status}
        try:
            await self._node.api.patch(f"{self._path}/status", body, "strategic-merge-patch")
        except ApiError as error:
            if error.status not in {404, 409}:  # gone, or another Pod of the same name: the watch will say so
                raise
        self._published = status

    async def _delete(self) -> None:
        while not self._gone:
            try:
                await self._node.api.delete(self._path, grace_seconds=0, uid=self.uid)
            except (ApiError, aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _lookup(self, kind: SourceKind, name: str) -> Obj | None:
        return await self._node.api.find(f"/api/v1/namespaces/{self.namespace}/{kind}/{name}")

    async def _pull(self, container: Obj) -> Image:
        reference = container["image"]
        image = find_image(self._node.images, reference)
        if image is None:
            if container.get("imagePullPolicy") == "Never":
                text = f'Container image "{reference}" is not present with pull policy of Never'
                raise ImageError("ErrImageNeverPull", text)
            raise ImageError("ErrImagePull", f'failed to pull image "{reference}": not found')
        if reference not in self._node.pulled:
            await asyncio.sleep(image.pull_seconds)
            self._node.pulled.add(reference)
        return image

    def _base_environment(self, image: Image) -> dict[str, str]:
        server = urlsplit(self._node.access.url)
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._folder),
            "HOSTNAME": self.name,
            "KUBERNETES_SERVICE_HOST": server.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(server.port or 443),
            "PROCESS_NODE_HOST": "127.0.0.1",
            **{f"PROCESS_NODE_PORT_{port}": str(local) for port, local in self._ports.items()},
        }
        return env | dict(image.env)

    async def _write_kubeconfig(self, container: str, token_file: Path) -> Path:
        path = self._folder / f"{container}.kubeconfig"
        ca = await asyncio.to_thread(self._node.access.ca_file.read_bytes)
        content = kubeconfig(self._node.access.url, ca, token_file, self.namespace)
        await asyncio.to_thread(write_file, path, json.dumps(content).encode())
        return path
