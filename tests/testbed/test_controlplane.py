"""The control plane of the test bed is a real one, and nothing of it stays behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from testbed import reaper
from testbed.controlplane import ControlPlane
from testbed.kube import Admin, ApiError, Object, UnknownKindError, condition
from testbed.processes import ProcessError, free_port, start, until

ROOT = Path(__file__).parents[2]


def deployment(namespace: str, replicas: int = 2) -> Object:
    labels = {"app": "chat"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "server", "image": "example.com/server:1"}]},
            },
        },
    }


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


async def gone(pids: list[int], timeout: float = 60.0) -> None:
    async def none_left() -> bool:
        return not any(alive(pid) for pid in pids)

    await until(none_left, timeout=timeout, what=f"{pids} have ended")


async def test_controllers_turn_a_deployment_into_pods(admin: Admin, namespace: str) -> None:
    await admin.apply(deployment(namespace))

    def complete(found: Object | None) -> bool:
        return found is not None and found.get("status", {}).get("replicas") == 2

    await admin.wait_for("apps/v1", "Deployment", namespace, "chat", complete)
    (replica_set,) = await admin.list("apps/v1", "ReplicaSet", namespace)
    pods = await admin.list("v1", "Pod", namespace, selector="app=chat")
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods} == {replica_set["metadata"]["uid"]}
    # The admission plug-in for service accounts gives each pod its identity.
    assert {pod["spec"]["serviceAccountName"] for pod in pods} == {"default"}
    assert {volume["name"].startswith("kube-api-access") for pod in pods for volume in pod["spec"]["volumes"]} == {True}


async def test_deleting_an_owner_collects_what_it_owns(admin: Admin, namespace: str) -> None:
    await admin.apply(deployment(namespace, replicas=1))
    owner = await admin.wait_for(
        "apps/v1", "Deployment", namespace, "chat", lambda found: bool(found and found["status"].get("replicas"))
    )
    assert owner is not None
    (replica_set,) = await admin.list("apps/v1", "ReplicaSet", namespace)
    await admin.delete("apps/v1", "Deployment", namespace, "chat")
    name = replica_set["metadata"]["name"]
    await admin.wait_for("apps/v1", "ReplicaSet", namespace, name, lambda found: found is None)


async def test_a_token_has_only_the_rights_that_roles_give(
    control_plane: ControlPlane, admin: Admin, namespace: str
) -> None:
    token = await admin.token(namespace, "default")
    async with Admin(control_plane.url, control_plane.ca_file, token) as pod:
        with pytest.raises(ApiError) as refused:
            await pod.list("v1", "ConfigMap", namespace)
        assert (refused.value.status, refused.value.reason) == (403, "Forbidden")
        assert f"system:serviceaccount:{namespace}:default" in str(refused.value)

        await admin.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "reader", "namespace": namespace},
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}],
            }
        )
        await admin.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "reader", "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
            }
        )

        async def permitted() -> bool:
            try:
                return bool(await pod.list("v1", "ConfigMap", namespace))
            except ApiError:
                return False

        # The authoriser learns of a binding through its watch.
        await until(permitted, timeout=60, what="the role is in force")


async def test_a_wrong_token_is_nobody(control_plane: ControlPlane) -> None:
    async with Admin(control_plane.url, control_plane.ca_file, "wrong") as stranger:
        with pytest.raises(ApiError) as refused:
            await stranger.list("v1", "Namespace")
    assert refused.value.status == 401


async def test_the_kubeconfig_is_private_and_complete(control_plane: ControlPlane) -> None:
    assert control_plane.kubeconfig.stat().st_mode & 0o077 == 0
    assert control_plane.url in control_plane.kubeconfig.read_text()
    for process in control_plane.processes:
        assert control_plane.admin_token not in command_line(process.pid)


async def test_the_server_knows_its_release(admin: Admin) -> None:
    version = await admin.request("GET", "/version")
    assert (version["major"], version["minor"]) == ("1", "36")
    assert version["gitVersion"].startswith("v1.36.")


async def test_definitions_are_served_once_they_are_applied(admin: Admin, tmp_path: Path, namespace: str) -> None:
    with pytest.raises(UnknownKindError):
        await admin.list("testbed.example.com/v1", "Widget")
    file = tmp_path / "widgets.yaml"
    file.write_text(
        textwrap.dedent(f"""
            apiVersion: testbed.example.com/v1
            kind: Widget
            metadata: {{name: first, namespace: {namespace}}}
            spec: {{size: 3}}
            ---
            apiVersion: apiextensions.k8s.io/v1
            kind: CustomResourceDefinition
            metadata: {{name: widgets.testbed.example.com}}
            spec:
              group: testbed.example.com
              names: {{kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}}
              scope: Namespaced
              versions:
                - name: v1
                  served: true
                  storage: true
                  subresources: {{status: {{}}}}
                  schema:
                    openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
            ---
            """)
    )
    try:
        definition, widget = await admin.apply_files([file])
        assert definition["kind"] == "CustomResourceDefinition"
        assert widget["metadata"]["managedFields"][0]["manager"] == "test"
        status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await admin.patch("testbed.example.com/v1", "Widget", namespace, "first", status, subresource="status")
        stored = await admin.get("testbed.example.com/v1", "Widget", namespace, "first")
        assert (stored["spec"], condition(stored, "Ready")) == ({"size": 3}, "True")
    finally:
        await admin.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, "widgets.testbed.example.com")


async def test_two_run_at_once_and_leave_nothing(admin: Admin, tmp_path: Path) -> None:
    async with ControlPlane() as second, Admin(second.url, second.ca_file, second.admin_token) as other:
        name = "only-in-the-second"
        await other.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        assert await admin.find("v1", "Namespace", None, name) is None

        await second.restart_apiserver()
        assert await other.find("v1", "Namespace", None, name) is not None

        pids = [process.pid for process in second.processes]
        workdir = second.workdir
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    assert not workdir.exists()


async def test_waiting_for_an_object_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    async with ControlPlane(tmp_path / "kept") as own, Admin(own.url, own.ca_file, own.admin_token) as client:

        def marked(found: Object | None) -> bool:
            return found is not None and "data" in found

        waiting = asyncio.create_task(client.wait_for("v1", "ConfigMap", "default", "late", marked, timeout=240))
        await own.restart_apiserver()
        late = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"a": "b"}}
        await client.create(late)
        found = await waiting
        assert found is not None
        assert found["data"] == {"a": "b"}
    assert (tmp_path / "kept" / "kube-apiserver.log").exists()


RUNNER = """
    import asyncio, pathlib, sys
    from testbed.processes import current_run, start

    async def main():
        folder = pathlib.Path(sys.argv[1])
        (folder / "temporary").write_text(str(current_run().temporary_folder("weir-test-")))
        # A child with a grandchild in a session of its own, as a daemon would have it.
        script = "setsid sleep 600 & echo $! > grandchild; echo $$ > child; sleep 600"
        await start(["sh", "-c", script], log=folder / "log", cwd=folder)
        await asyncio.sleep(600)

    asyncio.run(main())
"""


class Runner:
    """A small run of the test bed in a Python process of its own, which the test can kill."""

    def __init__(self, folder: Path, cache: Path) -> None:
        """With a cache of its own, so that no other run on this machine reaps what it leaves."""
        self.files = [folder / "child", folder / "grandchild"]
        argv = [sys.executable, "-c", textwrap.dedent(RUNNER), str(folder)]
        self.process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "WEIR_CACHE": str(cache)})

    async def children(self) -> list[int]:
        async def started() -> bool:
            return all(file.exists() and file.read_text().strip() for file in self.files)

        await until(started, timeout=60, what="the runner has started its child")
        return [int(file.read_text()) for file in self.files]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def kill_guard(self) -> None:
        """Kill the process that would clean up."""
        (guard,) = (
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if parent(int(folder.name)) == self.process.pid and is_guard(int(folder.name))
        )
        os.kill(guard, signal.SIGKILL)


def parent(pid: int) -> int:
    """Its parent's id, 0 where there is no such process any more."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_guard(pid: int) -> bool:
    return reaper.__file__ in command_line(pid)


async def test_nothing_survives_a_killed_run(tmp_path: Path) -> None:
    run = Runner(tmp_path, tmp_path / "cache")
    children = await run.children()
    temporary = Path((tmp_path / "temporary").read_text())
    assert all(alive(pid) for pid in children)
    assert not await absent(temporary)()
    run.kill()
    await gone(children)
    await until(absent(temporary), timeout=60, what="the temporary folder is removed")


async def test_the_next_run_reaps_what_a_killed_guard_could_not(tmp_path: Path) -> None:
    first = Runner(tmp_path, tmp_path / "cache")
    children = await first.children()
    first.kill_guard()
    first.kill()
    assert all(alive(pid) for pid in children)

    (tmp_path / "next").mkdir()
    second = Runner(tmp_path / "next", tmp_path / "cache")
    others = await second.children()
    await gone(children)
    assert all(alive(pid) for pid in others)
    second.kill()
    await gone(others)


async def test_stopping_is_gentle_first_and_then_thorough(tmp_path: Path) -> None:
    polite = await start(["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"], log=tmp_path / "a")
    await until(says(tmp_path / "a", "up"), timeout=60, what="the trap is set", process=polite)
    assert await polite.stop(grace=60) == 3

    stubborn = await start(
        ["sh", "-c", "trap '' TERM; sleep 600 & echo $!; while :; do sleep 0.05; done"], log=tmp_path / "b"
    )
    await until(says(tmp_path / "b", "\n"), timeout=60, what="the child is known", process=stubborn)
    assert await stubborn.stop(grace=0.2) == -signal.SIGKILL
    await gone([int((tmp_path / "b").read_text())])


def absent(path: Path) -> Callable[[], Awaitable[bool]]:
    async def gone_from_disk() -> bool:
        return not await asyncio.to_thread(path.exists)

    return gone_from_disk


def says(log: Path, text: str) -> Callable[[], Awaitable[bool]]:
    async def found() -> bool:
        return text in await asyncio.to_thread(log.read_text)

    return found


async def test_a_process_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    failing = await start(["sh", "-c", "echo no such flag >&2; exit 7"], name="failing", log=tmp_path / "log")

    async def never() -> bool:
        return False

    with pytest.raises(ProcessError, match=r"failing ended with 7 before it is ready:\nno such flag"):
        await until(never, timeout=60, what="it is ready", process=failing)


async def test_ports_are_not_given_twice() -> None:
    script = "from testbed.ports import free_port; print(*(free_port() for _ in range(50)))"
    other = [sys.executable, "-X", "dev", "-c", script]
    mine = {free_port() for _ in range(50)}
    done = await asyncio.to_thread(subprocess.run, other, capture_output=True, text=True, check=True, cwd=ROOT)
    theirs = {int(port) for port in done.stdout.split()}
    assert (len(mine), len(theirs), mine & theirs) == (50, 50, set())
    assert done.stderr == ""  # no file is left open
