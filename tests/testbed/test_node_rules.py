"""The rules of the process node that need no cluster: expansion, mounts, quantities, back-off, statuses, probes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from testbed.node.backoff import BackOff
from testbed.node.environment import command_line, expand
from testbed.node.images import Image, find_image
from testbed.node.mounts import MountMap
from testbed.node.podfields import FieldError, parse_quantity
from testbed.node.ports import listen_locally, local_port, pod_ports
from testbed.node.probes import ProbeTiming, Streak, run_probe
from testbed.node.status import ContainerView, PodView, Running, Terminated, Waiting, phase_of, pod_status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
    ],
)
def test_references_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/models", "/pod/m"),
        ("/models/a/b.json", "/pod/m/a/b.json"),
        ("--dir=/models,/models/deep/x", "--dir=/pod/m,/pod/d/x"),
        ("file:///models/x", "file:///pod/m/x"),
        ("/usr/bin:/models", "/usr/bin:/pod/m"),
        ("cat '/models'", "cat '/pod/m'"),
        ("/srv/models", "/srv/models"),
        ("/models-old", "/models-old"),
        ("http://models/x", "http://models/x"),
        ("hf://org/models", "hf://org/models"),
    ],
)
def test_mount_paths_are_rewritten(text: str, rewritten: str) -> None:
    mounts = MountMap({"/models/": Path("/pod/m"), "/models/deep": Path("/pod/d")})
    assert mounts.rewrite(text) == rewritten


@pytest.mark.parametrize(
    ("argument", "local"),
    [
        (":8080", "127.0.0.1:20001"),
        ("--listen=:8080", "--listen=127.0.0.1:20001"),
        ("--health-addr=0.0.0.0:9440", "--health-addr=127.0.0.1:20002"),
        ("[::]:9440", "127.0.0.1:20002"),
        (":9999", ":9999"),
        ("8080", "8080"),
        ("--upstream=http://example.com:8080", "--upstream=http://example.com:8080"),
        ("--peer=host:8080", "--peer=host:8080"),
    ],
)
def test_listen_addresses_move_to_local_ports(argument: str, local: str) -> None:
    assert listen_locally(argument, {8080: 20001, 9440: 20002}) == local


@pytest.mark.parametrize(
    ("container", "argv"),
    [
        ({}, ("serve", "--default")),
        ({"args": ["--a"]}, ("serve", "--a")),
        ({"command": ["other"]}, ("other",)),
        ({"command": ["other"], "args": ["--a"]}, ("other", "--a")),
        ({"args": []}, ("serve",)),
    ],
)
def test_command_and_args_replace_the_images_own(container: dict[str, Any], argv: tuple[str, ...]) -> None:
    image = Image(entrypoint=("serve",), cmd=("--default",))
    assert command_line(container, image, {}, MountMap({})).argv == argv


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("2", 2), ("1Gi", 2**30), ("1e3", 1000), ("1.5M", 1.5e6), ("10E", 1e19)]
)
def test_quantities(text: str, value: float) -> None:
    assert float(parse_quantity(text)) == value


@pytest.mark.parametrize("text", ["", "one", "1X", "1 Gi"])
def test_bad_quantities(text: str) -> None:
    with pytest.raises(FieldError):
        parse_quantity(text)


def test_images_are_found_without_tag_and_digest() -> None:
    images = {"server": Image(cmd=("any",)), "server:2": Image(cmd=("two",)), "host:5000/a/server": Image()}
    found = [find_image(images, name) for name in ("server", "server:1", "server:2", "server@sha256:00", "server:2@s")]
    assert [image.cmd[0] for image in found if image] == ["any", "any", "two", "any", "two"]
    assert find_image(images, "host:5000/a/server:1") is not None
    assert find_image(images, "host:5000/a/other") is None


def test_restarts_back_off_and_stay_at_the_limit() -> None:
    assert [BackOff(10, 300).delay(n) for n in range(1, 9)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert BackOff(1, 30).delay(10_000) == 30


def test_every_declared_and_probed_port_gets_a_mapping() -> None:
    probe = {"httpGet": {"port": 9000, "path": "/"}}
    pod = {
        "metadata": {"annotations": {"process-node/ports": '{"8080": 20001}'}},
        "spec": {
            "containers": [
                {"image": "a", "ports": [{"containerPort": 8080}], "readinessProbe": probe},
                {"image": "b", "ports": [{"containerPort": 7000}], "livenessProbe": {"tcpSocket": {"port": "name"}}},
            ]
        },
    }
    images = {"a": Image(), "b": Image(remaps_ports=False)}
    assert pod_ports(pod, images) == {8080: True, 9000: True, 7000: False}
    assert (local_port(pod, 8080), local_port(pod, 9000)) == (20001, None)


def container(state: Running | Waiting | Terminated, **changes: Any) -> ContainerView:
    view = ContainerView(
        name="main",
        image="a",
        role="main",
        state=state,
        last=None,
        restarts=0,
        started=isinstance(state, Running),
        ready=isinstance(state, Running),
        final=False,
        container_id="",
    )
    return replace(view, **changes)


def ended(code: int) -> Terminated:
    return Terminated(code, "Error" if code else "Completed", NOW, NOW, "id")


def pod_view(*containers: ContainerView, reason: str = "") -> PodView:
    return PodView(containers, ip="10.244.0.1", sandbox=True, started_at=NOW, reason=reason)


@pytest.mark.parametrize(
    ("containers", "phase"),
    [
        ([container(Waiting("ContainerCreating"))], "Pending"),
        ([container(Running(NOW)), container(Waiting("ErrImagePull"), name="b")], "Pending"),
        ([container(Running(NOW))], "Running"),
        ([container(Waiting("CrashLoopBackOff"), last=ended(1))], "Running"),
        ([container(ended(0), final=True)], "Succeeded"),
        ([container(ended(0), final=True), container(ended(2), final=True, name="b")], "Failed"),
        ([container(ended(0), final=True), container(Running(NOW), role="sidecar", name="s")], "Running"),
        ([container(ended(1), role="init", final=True), container(Waiting("PodInitializing"), name="b")], "Failed"),
    ],
)
def test_the_phase_follows_the_containers(containers: list[ContainerView], phase: str) -> None:
    assert phase_of(pod_view(*containers)) == phase


def test_conditions_keep_their_times_and_respect_readiness_gates() -> None:
    pod = {
        "metadata": {"generation": 2},
        "spec": {"containers": [{"name": "main"}], "readinessGates": [{"conditionType": "example.com/gate"}]},
    }
    view = pod_view(container(Running(NOW)))
    first = pod_status(pod, view, [])
    by_type = {c["type"]: c for c in first["conditions"]}
    assert (by_type["ContainersReady"]["status"], by_type["Ready"]["status"]) == ("True", "False")
    assert by_type["Ready"]["reason"] == "ReadinessGatesNotReady"

    before = [{**c, "lastTransitionTime": "2020-01-01T00:00:00Z"} for c in first["conditions"]]
    pod["status"] = {"conditions": [{"type": "example.com/gate", "status": "True"}]}
    second = {c["type"]: c for c in pod_status(pod, view, before)["conditions"]}
    assert second["Ready"]["status"] == "True"
    assert second["Ready"]["lastTransitionTime"] != "2020-01-01T00:00:00Z"
    assert second["ContainersReady"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"


def test_a_pod_past_its_deadline_has_failed() -> None:
    pod = {"metadata": {}, "spec": {"containers": [{"name": "main"}]}}
    status = pod_status(pod, pod_view(container(ended(143), final=True), reason="DeadlineExceeded"), [])
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_verdicts_need_enough_results_in_a_row() -> None:
    streak = Streak(ProbeTiming.of({"successThreshold": 2, "failureThreshold": 3}))
    results = [True, True, False, False, True, False, False, False, False]
    assert [streak.add(passed) for passed in results] == [None, True, None, None, None, None, None, False, False]


async def test_extra_tries_pass_early_but_never_fail() -> None:
    results = iter(["no", "no", "no", None])
    verdicts: list[bool] = []

    async def check() -> str | None:
        return next(results)

    def on_verdict(passed: bool, message: str) -> bool:
        verdicts.append(passed)
        return True

    probe = {"periodSeconds": 60, "failureThreshold": 2}
    async with asyncio.timeout(60):
        await run_probe(probe, check, on_verdict, eager=True)
    assert verdicts == [True]
