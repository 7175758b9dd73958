"""Knative Services: revisions are split, nothing is copied."""

import json

import pytest
from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, NAME, Rollouts
from flagger_left import status
from foreign_crds import KNATIVE, KNATIVE_API, serve
from knative_world import canary, controller, service

from agent.adapters.kube.client import KubeClient
from agent.adapters.traffic import KnativeRouter
from agent.api.canary import Canary
from testbed.kube import Admin, Object

PRIMARY = "flagger.app/primary-revision"


@pytest.fixture(scope="module", autouse=True)
async def knative(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> None:
    await serve(admin, tmp_path_factory.mktemp("crds"), KNATIVE)


async def state(rollouts: Rollouts) -> tuple[str, list[tuple[str, int]]]:
    found = await rollouts.get("Service", NAME, KNATIVE_API)
    assert found is not None
    return state_of(found)


def state_of(found: Object) -> tuple[str, list[tuple[str, int]]]:
    """The revision that serves, and the shares."""
    shares = [
        ("latest" if entry.get("latestRevision") else entry["revisionName"], entry["percent"])
        for entry in found["spec"].get("traffic") or ()
    ]
    return (found["metadata"].get("annotations") or {}).get(PRIMARY, ""), shares


async def test_a_new_revision_gets_its_share_and_is_promoted(kube: KubeClient, rollouts: Rollouts) -> None:
    first, second = f"{NAME}-00001", f"{NAME}-00002"
    async with controller(rollouts), canary_agent(kube, rollouts.namespace):
        await rollouts.apply(service(rollouts, "1"), {**canary(rollouts)})
        status = await rollouts.phase("Initialized")
        assert status["conditions"][0]["message"] == "Service initialization completed."
        assert await state(rollouts) == (first, [("latest", 0), (first, 100)])
        async with rollouts.watched("Service", KNATIVE_API, state_of) as seen:
            await rollouts.admin.patch(KNATIVE_API, "Service", rollouts.namespace, NAME, service(rollouts, "2"))
            await rollouts.phase("Succeeded")
            await eventually(lambda: len(seen) >= 5)
    assert seen == [
        (first, [("latest", 0), (first, 100)]),
        (first, [("latest", 30), (first, 70)]),
        (first, [("latest", 60), (first, 40)]),
        (second, [("latest", 60), (first, 40)]),
        (second, [("latest", 0), (second, 100)]),
    ]


async def test_another_model_is_judged_guarded_and_held_once_rejected_and_another_server_is_as_with_flagger(
    kube: KubeClient, rollouts: Rollouts
) -> None:
    async def push(version: str, revision: str) -> None:
        changed = service(rollouts, version, "--model=org/m", f"--revision={revision * 40}")
        await rollouts.admin.patch(KNATIVE_API, "Service", rollouts.namespace, NAME, changed)

    left_to_weir = canary(rollouts)
    left_to_weir["metadata"]["annotations"] = {}
    async with controller(rollouts), canary_agent(kube, rollouts.namespace):
        await rollouts.apply(service(rollouts, "1", "--model=org/m", f"--revision={'a' * 40}"), left_to_weir)
        await rollouts.phase("Initialized")
        await push("2", "a")
        assert "judge" not in await rollouts.phase("Succeeded")
        await push("2", "b")
        await rollouts.until(lambda status: (status.get("judge") or {}).get("mode") == "guarded")
        abort = {"metadata": {"annotations": {"weir.dev/command": "abort"}}}
        await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, abort)
        failed = await rollouts.phase("Failed")
        found = await rollouts.get("Canary", NAME, FLAGGER)
        assert found is not None
        (entry,) = json.loads(found["metadata"]["annotations"]["weir.dev/quarantine"])
        assert ("b" * 40 in entry["rejected"], "a" * 40 in entry["restore"]) == (True, True)
        assert entry["revision"] == failed["lastAppliedSpec"]
        await push("3", "b")
        assert "b" * 40 in await rollouts.blocked("Quarantined")
        second = f"{NAME}-00002"
        assert await state(rollouts) == (second, [("latest", 0), (second, 100)])
        await push("3", "c")
        await rollouts.phase("Progressing")


async def test_a_revision_that_comes_while_the_one_before_is_taken_over_gets_no_traffic(
    kube: KubeClient, rollouts: Rollouts
) -> None:
    """At rest, too, each look makes sure of the revision that serves."""
    made, router = Canary.from_object(canary(rollouts)), KnativeRouter(kube)
    first, second = f"{NAME}-00001", f"{NAME}-00002"
    async with controller(rollouts):
        await rollouts.apply(service(rollouts, "1"))
        await eventually(lambda: _latest(rollouts, first))
        await rollouts.admin.patch(KNATIVE_API, "Service", rollouts.namespace, NAME, service(rollouts, "2"))
        await eventually(lambda: _latest(rollouts, second))
        await router.take_over(made, first)
    assert await state(rollouts) == (first, [("latest", 0), (first, 100)])


async def _latest(rollouts: Rollouts, name: str) -> bool:
    found = await rollouts.get("Service", NAME, KNATIVE_API) or {}
    return found.get("status", {}).get("latestCreatedRevisionName") == name


async def test_a_rejected_revision_keeps_no_traffic_and_the_service_is_given_back(
    kube: KubeClient, rollouts: Rollouts
) -> None:
    broken = {"name": "gate", "type": "rollout", "url": "http://127.0.0.1:9/", "timeout": "1s"}
    made = canary(rollouts, webhooks=[broken])
    made["spec"]["revertOnDeletion"] = True
    first = f"{NAME}-00001"
    async with controller(rollouts), canary_agent(kube, rollouts.namespace):
        await rollouts.apply(service(rollouts, "1"), made)
        await rollouts.phase("Initialized")
        await rollouts.admin.patch(KNATIVE_API, "Service", rollouts.namespace, NAME, service(rollouts, "2"))
        await rollouts.phase("Failed")
        assert await state(rollouts) == (first, [("latest", 0), (first, 100)])
        await rollouts.admin.delete(FLAGGER, "Canary", rollouts.namespace, NAME)
        await eventually(lambda: _gone(rollouts))
    assert await state(rollouts) == ("", [("latest", 100)])


async def test_what_flagger_left_of_a_knative_service_is_taken_over_untouched(
    kube: KubeClient, rollouts: Rollouts
) -> None:
    first = f"{NAME}-00001"
    left = service(rollouts, "1")
    left["metadata"]["annotations"] = {PRIMARY: first}
    shares = [{"latestRevision": True, "percent": 0}, {"latestRevision": False, "revisionName": first, "percent": 100}]
    left["spec"]["traffic"] = shares
    async with controller(rollouts):
        await rollouts.apply(left, canary(rollouts))
        before = await rollouts.admin.wait_for(
            KNATIVE_API, "Service", rollouts.namespace, NAME, lambda found: bool((found or {}).get("status"))
        )
        assert before is not None
        await rollouts.admin.patch(
            FLAGGER, "Canary", rollouts.namespace, NAME, {"status": status("Succeeded")}, subresource="status"
        )
        async with canary_agent(kube, rollouts.namespace) as agent:
            await rollouts.until(lambda found: found.get("lastAppliedSpec", "").startswith("v2:"))
            await eventually(lambda: len(agent.passes) >= 4)
            assert await rollouts.get("Service", NAME, KNATIVE_API) == before
            assert await rollouts.events() == []
            await rollouts.admin.patch(KNATIVE_API, "Service", rollouts.namespace, NAME, service(rollouts, "2"))
            await eventually(lambda: _serves(rollouts, f"{NAME}-00002"))


async def _serves(rollouts: Rollouts, revision: str) -> bool:
    return await state(rollouts) == (revision, [("latest", 0), (revision, 100)])


async def _gone(rollouts: Rollouts) -> bool:
    return await rollouts.get("Canary", NAME, FLAGGER) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"provider": "kubernetes"}, "ProviderNotSupported"),
        ({"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}}, "TargetNotSupported"),
        (
            {"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "x"}},
            "AutoscalerNotSupported",
        ),
    ],
)
async def test_provider_and_target_go_together(
    kube: KubeClient, rollouts: Rollouts, change: Object, reason: str
) -> None:
    made = canary(rollouts)
    made["spec"] |= change
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(made)
        status = await rollouts.until(lambda status: bool(status.get("conditions")))
        assert status["conditions"][0]["reason"] == reason
