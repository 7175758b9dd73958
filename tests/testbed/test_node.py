"""The process node runs Pods of a real control plane as local processes, with real statuses."""

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from serving import available, deployment, model_server, pod, write_model

from testbed.controlplane import ControlPlane
from testbed.kube import Admin, ApiError, Object, condition
from testbed.node import PORTS_ANNOTATION, Access, BackOff, Image, ProcessNode, python_module
from testbed.processes import until

REFRESH_SECONDS = 0.5
PYTHON = Image(entrypoint=(sys.executable, "-u", "-c"))


@pytest.fixture(scope="module")
def access(control_plane: ControlPlane) -> Access:
    return Access(control_plane.url, control_plane.admin_token, control_plane.ca_file)


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    return {
        "model-server": python_module("testbed.model_server"),
        "python": PYTHON,
        "shell": Image(entrypoint=("sh", "-c"), cmd=("echo default",)),
    }


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
async def node(access: Access, admin: Admin, images: dict[str, Image], workdir: Path) -> AsyncIterator[ProcessNode]:
    backoff = BackOff(base=0.2, limit=5)
    async with ProcessNode(
        access, workdir=workdir, images=images, backoff=backoff, refresh_seconds=REFRESH_SECONDS
    ) as running:
        yield running
    await admin.delete("v1", "Node", None, running.name)


@pytest.fixture
async def run(admin: Admin, namespace: str, node: ProcessNode) -> "Runner":
    return Runner(admin, namespace, node)


class Runner:
    """Runs single Pods in the test's namespace and watches them."""

    def __init__(self, admin: Admin, namespace: str, node: ProcessNode) -> None:
        self.admin = admin
        self.namespace = namespace
        self._node = node

    async def start(self, name: str, container: Object, **spec: Any) -> None:
        await self.admin.create(pod(self.namespace, name, container, **spec))

    async def until(self, name: str, holds: Callable[[Object], bool], timeout: float = 60) -> Object:
        """Wait until a condition holds for the Pod's status."""
        found = await self.admin.wait_for(
            "v1",
            "Pod",
            self.namespace,
            name,
            lambda item: item is not None and bool(item.get("status")) and holds(item["status"]),
            timeout=timeout,
        )
        assert found is not None
        return found

    async def until_main(self, name: str, holds: Callable[[Object], bool]) -> Object:
        """Wait until a condition holds for the status of the container ``main``; that status."""

        def main_holds(status: Object) -> bool:
            return any(holds(c) for c in status.get("containerStatuses") or [] if c["name"] == "main")

        found = await self.until(name, main_holds)
        return next(c for c in found["status"]["containerStatuses"] if c["name"] == "main")

    async def delete(self, name: str) -> float:
        """Delete the Pod and wait until it is gone; the seconds that took."""
        started = time.monotonic()
        await self.admin.delete("v1", "Pod", self.namespace, name)
        await self.admin.wait_for("v1", "Pod", self.namespace, name, lambda item: item is None)
        return time.monotonic() - started

    async def until_event(self, reason: str, text: str) -> None:
        """Wait for an Event of the namespace; it is written beside the status."""

        async def told() -> bool:
            events = await self.admin.list("v1", "Event", self.namespace)
            return any(event["reason"] == reason and text in event["message"] for event in events)

        await until(told, timeout=60, what=f"an Event tells {text!r}")

    def log(self, name: str, container: str = "main") -> str:
        path = self._node.log_path(self.namespace, name, container)
        return path.read_text() if path.exists() else ""

    async def until_logged(self, name: str, text: str) -> str:
        async def logged() -> bool:
            return text in self.log(name)

        await until(logged, timeout=60, what=f"{name} says {text!r}")
        return self.log(name)


def has_phase(phase: str) -> Callable[[Object], bool]:
    return lambda status: bool(status.get("phase") == phase)


def waits_for(reason: str) -> Callable[[Object], bool]:
    return lambda container: bool(container["state"].get("waiting", {}).get("reason") == reason)


def is_ready(status: Object) -> bool:
    return condition({"status": status}, "Ready") == "True"


async def test_a_deployment_becomes_available(admin: Admin, namespace: str, node: ProcessNode, tmp_path: Path) -> None:
    registered = await admin.get("v1", "Node", None, node.name)
    assert condition(registered, "Ready") == "True"
    lease = await admin.wait_for(
        "coordination.k8s.io/v1", "Lease", "kube-node-lease", node.name, lambda found: found is not None
    )
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == node.name

    item = deployment(namespace, "chat", model_server(write_model(tmp_path, "v1")), replicas=2)
    await admin.create(item)
    await available(admin, namespace, "chat", 2)
    first, second = await admin.list("v1", "Pod", namespace)
    assert first["status"]["podIP"] != second["status"]["podIP"]
    assert first["status"]["podIP"].startswith("10.244.")
    assert first["spec"]["nodeName"] == node.name
    ports = [json.loads(found["metadata"]["annotations"][PORTS_ANNOTATION])["8080"] for found in (first, second)]
    assert len(set(ports)) == 2
    (status,) = first["status"]["containerStatuses"]
    assert (status["ready"], status["started"], status["restartCount"]) == (True, True, 0)
    assert "startedAt" in status["state"]["running"]
    for kind in ("PodScheduled", "Initialized", "PodReadyToStartContainers", "ContainersReady", "Ready"):
        assert condition(first, kind) == "True"

    await admin.delete("apps/v1", "Deployment", namespace, "chat")
    for found in (first, second):
        await admin.wait_for("v1", "Pod", namespace, found["metadata"]["name"], lambda item: item is None)
    for port in ports:
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", port)


async def test_the_api_server_gets_at_the_logs(run: Runner, admin: Admin) -> None:
    await run.start("talker", {"image": "shell", "args": ["echo one; echo two; echo three; sleep 60"]})
    await run.until_logged("talker", "three")
    assert await admin.log(run.namespace, "talker") == "one\ntwo\nthree\n"
    assert await admin.log(run.namespace, "talker", tailLines="2") == "two\nthree\n"
    with pytest.raises(ApiError, match="sinceSeconds"):  # lines have no times here
        await admin.log(run.namespace, "talker", sinceSeconds="5")
    with pytest.raises(ApiError, match="other"):
        await admin.log(run.namespace, "talker", container="other")


async def test_logs_are_followed(run: Runner, access: Access) -> None:
    await run.start("clock", {"image": "shell", "args": ["while :; do echo tick; sleep 0.2; done"]})
    await run.until("clock", has_phase("Running"))
    trust = ssl.create_default_context(cafile=str(access.ca_file))
    url = f"{access.url}/api/v1/namespaces/{run.namespace}/pods/clock/log?follow=true"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {access.token}"}) as session,
        session.get(url, ssl=trust) as response,
    ):
        for _ in range(3):
            assert await response.content.readline() == b"tick\n"


async def test_readiness_is_probed_all_the_time(run: Runner, workdir: Path) -> None:
    probe = {"exec": {"command": ["test", "-e", "/data/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    container = {
        "image": "shell",
        "args": ["while :; do sleep 0.1; done"],
        "readinessProbe": probe,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    await run.start("switch", container, volumes=[{"name": "data", "emptyDir": {}}])
    found = await run.until("switch", has_phase("Running"))
    assert not is_ready(found["status"])
    (unready,) = [c for c in found["status"]["conditions"] if c["type"] == "ContainersReady"]
    assert (unready["reason"], unready["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [main]",
    )
    switch = workdir / "pods" / found["metadata"]["uid"] / "volumes" / "data" / "ready"
    switch.touch()
    await run.until("switch", is_ready)
    switch.unlink()
    await run.until("switch", lambda status: not is_ready(status))
    await run.until_event("Unhealthy", "Readiness probe failed")


async def test_a_crashing_container_is_restarted_ever_more_slowly(run: Runner) -> None:
    await run.start("crash", {"image": "shell", "args": ["echo run; exit 3"]})
    status = await run.until_main("crash", lambda c: c["restartCount"] >= 3 and waits_for("CrashLoopBackOff")(c))
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["lastState"]["terminated"]["reason"] == "Error"
    assert status["state"]["waiting"]["message"].startswith("back-off ")
    assert not status["ready"]

    async def each_run_is_counted() -> bool:
        """By a log and a status of the same moment: neither may have gone on when the other is read."""
        before = run.log("crash")
        (main,) = (await run.admin.get("v1", "Pod", run.namespace, "crash"))["status"]["containerStatuses"]
        waits = waits_for("CrashLoopBackOff")(main) and run.log("crash") == before
        return waits and before.count("run\n") == main["restartCount"] + 1

    await until(each_run_is_counted, timeout=60, what="the log holds as many runs as the status counts")
    found = await run.until("crash", has_phase("Running"))
    assert not is_ready(found["status"])


async def test_a_container_leaves_its_last_words(run: Runner) -> None:
    container = {"image": "shell", "args": ["printf 'score 0.9' > /dev/termination-log; exit 3"]}
    await run.start("last", container, restartPolicy="Never")
    status = (await run.until("last", has_phase("Failed")))["status"]
    (main,) = status["containerStatuses"]
    assert main["state"]["terminated"]["message"] == "score 0.9"
    await run.start("mute", {"image": "shell", "args": ["exit 0"]}, restartPolicy="Never")
    status = (await run.until("mute", has_phase("Succeeded")))["status"]
    assert "message" not in status["containerStatuses"][0]["state"]["terminated"]


async def test_environment_comes_from_everywhere(run: Runner) -> None:
    metadata = {"namespace": run.namespace}
    await run.admin.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", **metadata}, "data": {"MODE": "a"}}
    )
    await run.admin.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", **metadata}, "stringData": {"KEY": "s"}}
    )
    container = {
        "image": "python",
        "args": ["import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))", "--at=$(HOST)$$(HOST)"],
        "resources": {"limits": {"memory": "64Mi", "cpu": "1500m"}},
        "envFrom": [
            {"configMapRef": {"name": "settings"}, "prefix": "CM_"},
            {"secretRef": {"name": "absent", "optional": True}},
        ],
        "env": [
            {"name": "HOST", "value": "example"},
            {"name": "URL", "value": "http://$(HOST)/$(UNKNOWN)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
            {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "NO", "optional": True}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MIB", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
    }
    await run.start("env", container, restartPolicy="Never")
    found = await run.until("env", has_phase("Succeeded"))
    arguments, env = json.loads(run.log("env"))
    assert arguments == ["--at=example$(HOST)"]
    assert env["URL"] == "http://example/$(UNKNOWN)"
    assert (env["CM_MODE"], env["PASSWORD"], env["NAME"], env["APP"]) == ("a", "s", "env", "env")
    assert (env["IP"], env["MIB"], env["CPUS"]) == (found["status"]["podIP"], "64", "2")
    assert "NONE" not in env
    terminated = found["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (0, "Completed")
    assert condition(found, "Ready") == "False"


async def test_missing_configuration_is_waited_for(run: Runner) -> None:
    reference = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}
    await run.start("env", {"image": "shell", "args": ["echo got $A"], "env": [reference]}, restartPolicy="Never")
    status = await run.until_main("env", waits_for("CreateContainerConfigError"))
    assert status["state"]["waiting"]["message"] == 'configmap "late" not found'
    late = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late", "namespace": run.namespace}}
    await run.admin.create({**late, "data": {"a": "1"}})
    await run.until("env", has_phase("Succeeded"))
    assert run.log("env") == "got 1\n"


async def test_volumes_are_folders_that_follow_their_sources(run: Runner) -> None:
    metadata = {"namespace": run.namespace}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", **metadata}}
    await run.admin.create({**settings, "data": {"a": "1", "b": "2"}})
    await run.admin.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", **metadata}, "stringData": {"key": "s"}}
    )
    volumes = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "settings", "items": [{"key": "b", "path": "deep/b"}]}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                ]
            },
        },
    ]
    mounts = [
        {"name": "settings", "mountPath": "/etc/settings"},
        {"name": "keys", "mountPath": "/etc/settings/keys"},
        {"name": "all", "mountPath": "/all/"},
        {"name": "settings", "mountPath": "/one/file", "subPath": "a"},
    ]
    once = "stat -c %a $KEYS/key; cat $KEYS/key /all/deep/b /all/labels /one/file"
    script = f"{once}; while :; do cat /etc/settings/a; sleep 0.1; done"
    container = {
        "image": "shell",
        "args": [script],
        "volumeMounts": mounts,
        "env": [{"name": "KEYS", "value": "/etc/settings/keys"}],
    }
    await run.start("files", container, volumes=volumes)
    log = await run.until_logged("files", '"1')
    assert log.startswith('400\ns2app="files"1')
    await run.admin.apply({**settings, "data": {"a": "new", "b": "2"}})
    await run.until_logged("files", "new")


async def test_a_missing_volume_source_holds_the_pod(run: Runner) -> None:
    volumes = [{"name": "settings", "configMap": {"name": "late"}}]
    mounts = [{"name": "settings", "mountPath": "/settings"}]
    container = {"image": "shell", "args": ["cat /settings/a"], "volumeMounts": mounts}
    await run.start("files", container, volumes=volumes, restartPolicy="Never")
    status = await run.until_main("files", waits_for("ContainerCreating"))
    assert status["started"] is False
    await run.until_event("FailedMount", 'configmap "late" not found')
    late = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late", "namespace": run.namespace}}
    await run.admin.create({**late, "data": {"a": "1"}})
    await run.until("files", has_phase("Succeeded"))


async def test_a_pod_has_the_rights_of_its_service_account_only(run: Runner) -> None:
    metadata = {"name": "reader", "namespace": run.namespace}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    group = "rbac.authorization.k8s.io"
    await run.admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    await run.admin.create({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
    await run.admin.create(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        }
    )
    script = """
import json, os, ssl, sys, urllib.error, urllib.request
config = json.load(open(os.environ["KUBECONFIG"]))
namespace = config["contexts"][0]["context"]["namespace"]
server = config["clusters"][0]["cluster"]["server"]
assert server.endswith(":" + os.environ["KUBERNETES_SERVICE_PORT"])
folder = sys.argv[1]
assert config["users"][0]["user"]["tokenFile"] == folder + "/token"
assert open(folder + "/namespace").read() == namespace
trust = ssl.create_default_context(cafile=folder + "/ca.crt")
for plural in ("configmaps", "secrets"):
    url = f"{server}/api/v1/namespaces/{namespace}/{plural}"
    token = open(folder + "/token").read()
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
    try:
        status = urllib.request.urlopen(request, context=trust).status
    except urllib.error.HTTPError as error:
        status = error.code
    print(plural, status)
    if (plural, status) == ("configmaps", 403):
        sys.exit("the authorizer does not know of the binding yet: try again")
"""
    container = {"image": "python", "args": [script, "/var/run/secrets/kubernetes.io/serviceaccount"]}
    await run.start("reader", container, serviceAccountName="reader", restartPolicy="OnFailure")
    await run.until("reader", has_phase("Succeeded"))
    assert run.log("reader").splitlines()[-2:] == ["configmaps 200", "secrets 403"]


async def test_pods_end_as_they_were_told(run: Runner) -> None:
    polite = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook"]}}}
    await run.start("polite", {"image": "shell", "args": [polite], "lifecycle": hook}, terminationGracePeriodSeconds=60)
    stubborn = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    await run.start("stubborn", {"image": "shell", "args": [stubborn]}, terminationGracePeriodSeconds=1)
    await run.until_logged("polite", "up")
    await run.until_logged("stubborn", "up")
    assert await run.delete("polite") < 60
    assert run.log("polite") == "up\nhook\nbye\n"
    assert 1 <= await run.delete("stubborn") < 30, "less than what Kubernetes gives without being asked"


async def test_a_deadlocked_container_is_restarted(run: Runner) -> None:
    script = "echo up; touch alive; while :; do sleep 0.05; done"
    container = {
        "image": "shell",
        "args": [script],
        "startupProbe": {"exec": {"command": ["test", "-e", "alive"]}, "periodSeconds": 1, "timeoutSeconds": 60},
        "livenessProbe": {
            "exec": {"command": ["sh", "-c", "test -e twice || { touch twice; exit 1; }"]},
            "periodSeconds": 1,
            "timeoutSeconds": 60,  # one that is late would be another restart
            "failureThreshold": 1,
        },
    }
    await run.start("stuck", container)
    status = await run.until_main("stuck", lambda c: c["restartCount"] == 1 and "running" in c["state"])
    assert status["lastState"]["terminated"]["exitCode"] == 128 + 15
    assert await run.until_logged("stuck", "up\nup\n") == "up\nup\n"
    await run.until("stuck", is_ready)


async def test_init_containers_run_first_and_sidecars_stay(run: Runner) -> None:
    shared = {"volumeMounts": [{"name": "work", "mountPath": "/shared"}], "image": "shell"}
    sidecar = "echo start >> /shared/order; trap 'exit 0' TERM; touch /shared/up; while :; do sleep 0.05; done"
    inits = [
        {"name": "first", "args": ["sleep 0.3; echo first >> /shared/order"], **shared},
        {
            "name": "side",
            "args": [sidecar],
            "restartPolicy": "Always",
            "startupProbe": {"exec": {"command": ["test", "-e", "/shared/up"]}, "timeoutSeconds": 60},
            **shared,
        },
        {"name": "second", "args": ["echo second >> /shared/order"], **shared},
    ]
    main = {"args": ["cat /shared/order"], **shared}
    await run.start(
        "staged", main, initContainers=inits, volumes=[{"name": "work", "emptyDir": {}}], restartPolicy="Never"
    )
    found = await run.until("staged", has_phase("Succeeded"))
    assert run.log("staged") == "first\nstart\nsecond\n"
    ended = {c["name"]: c["state"]["terminated"]["exitCode"] for c in found["status"]["initContainerStatuses"]}
    assert ended == {"first": 0, "side": 0, "second": 0}

    failing = [{"name": "first", "image": "shell", "args": ["exit 7"]}]
    await run.start(
        "unstarted", main, initContainers=failing, volumes=[{"name": "work", "emptyDir": {}}], restartPolicy="Never"
    )
    found = await run.until("unstarted", has_phase("Failed"))
    assert waits_for("PodInitializing")(found["status"]["containerStatuses"][0])
    assert condition(found, "Initialized") == "False"


async def test_jobs_complete_and_fail(run: Runner) -> None:
    for name, script, verdict in (("good", "true", "Complete"), ("bad", "exit 1", "Failed")):
        template = {"containers": [{"name": "main", "image": "shell", "args": [script]}], "restartPolicy": "Never"}
        await run.admin.create(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "namespace": run.namespace},
                "spec": {"backoffLimit": 0, "template": {"spec": template}},
            }
        )
        await run.admin.wait_for(
            "batch/v1", "Job", run.namespace, name, lambda job, verdict=verdict: condition(job, verdict) == "True"
        )


async def test_an_unknown_image_is_pulled_again_and_again(run: Runner, images: dict[str, Image]) -> None:
    await run.start("late", {"image": "example.com/late:1@sha256:" + "0" * 64}, restartPolicy="Never")
    status = await run.until_main("late", waits_for("ErrImagePull"))
    assert "not found" in status["state"]["waiting"]["message"]
    await run.until_main("late", waits_for("ImagePullBackOff"))
    images["example.com/late"] = Image(entrypoint=("echo", "here"))
    await run.until("late", has_phase("Succeeded"))
    assert run.log("late") == "here\n"


async def test_a_program_that_cannot_start_is_an_error(run: Runner) -> None:
    await run.start("broken", {"image": "shell", "command": ["/no/such/program"]}, restartPolicy="Never")
    found = await run.until("broken", has_phase("Failed"))
    terminated = found["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (128, "StartError")
    assert "/no/such/program" in terminated["message"]


async def test_an_unusable_environment_is_an_error_of_the_container(run: Runner) -> None:
    data = {"KEY": "AAA="}  # two NUL bytes
    metadata = {"name": "binary", "namespace": run.namespace}
    await run.admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    container = {"image": "shell", "envFrom": [{"secretRef": {"name": "binary"}}]}
    await run.start("binary", container, restartPolicy="Never")
    found = await run.until("binary", has_phase("Failed"))
    assert found["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "StartError"


async def test_a_pod_waits_for_a_node_with_its_labels(run: Runner, node: ProcessNode) -> None:
    await run.start("picky", {"image": "shell"}, nodeSelector={"disk": run.namespace}, restartPolicy="Never")
    found = await run.until("picky", lambda status: bool(status.get("conditions")))
    (scheduled,) = [c for c in found["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
    await run.admin.patch("v1", "Node", None, node.name, {"metadata": {"labels": {"disk": run.namespace}}})
    found = await run.until("picky", has_phase("Succeeded"))
    assert condition(found, "PodScheduled") == "True"
    assert run.log("picky") == "default\n"


async def test_a_restarted_node_runs_its_pods_again(
    admin: Admin, namespace: str, access: Access, images: dict[str, Image], tmp_path: Path
) -> None:
    names = {"name": "second-node", "labels": {"node": namespace}, "pod_cidr": "10.245.0.0/16"}
    container = {"image": "shell", "args": ["echo $$$$; sleep 600"]}
    async with ProcessNode(access, workdir=tmp_path, images=images, **names) as first:
        item = pod(namespace, "stays", container, nodeSelector={"node": namespace})
        await admin.create(item)
        await Runner(admin, namespace, first).until("stays", is_ready)
        pid = int(await Runner(admin, namespace, first).until_logged("stays", "\n"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    async with ProcessNode(access, workdir=tmp_path, images=images, **names) as second:
        await Runner(admin, namespace, second).until_main(
            "stays", lambda c: c["restartCount"] == 1 and "running" in c["state"]
        )
        await Runner(admin, namespace, second).delete("stays")
    await admin.delete("v1", "Node", None, "second-node")
