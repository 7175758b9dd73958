"""A revision is evaluated by a Job before it gets any traffic."""

import json
from typing import Any

from aiohttp import web
from canary_agent import canary_agent, eventually
from canary_cluster import CRDS, FLAGGER, NAME, Rollouts
from loopback import listening

from agent.adapters.kube.client import KubeClient
from testbed.kube import Object
from testbed.ports import free_port

CLI = "weir-cli"


def evaluation(rollouts: Rollouts, accuracy: float | None) -> Object:
    """A CronJob that never runs by itself; its Job reports this accuracy, or ends without a word."""
    report = f'{{"metrics": {{"accuracy": {accuracy}}}}}' if accuracy is not None else ""
    script = f"printf '%s' '{report}' > /dev/termination-log"
    container = {"name": "evaluator", "image": "sleeper:1.0", "command": ["/bin/sh", "-c", script]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "evaluation", "namespace": rollouts.namespace},
        "spec": {
            "schedule": "@yearly",
            "suspend": True,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
                }
            },
        },
    }


def gated(rollouts: Rollouts) -> Object:
    gate = {
        "name": "quality",
        "type": "pre-rollout",
        "url": "job://evaluation",
        "timeout": "5m",
        "metadata": {"min.accuracy": "0.9", "maxDrop.accuracy": "0.02"},
    }
    analysis = {"stepWeight": None, "maxWeight": None, "iterations": 1, "webhooks": [gate]}
    return rollouts.canary(provider="kubernetes", analysis=analysis)


async def blocked(rollouts: Rollouts) -> str:
    conditions = (await rollouts.status()).get("conditions", ())
    return next((item["message"] for item in conditions if item["type"] == "Blocked"), "")


async def annotate(rollouts: Rollouts, **annotations: str) -> None:
    patch = {"metadata": {"annotations": {f"weir.dev/{name}": value for name, value in annotations.items()}}}
    await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, patch, field_manager=CLI)


async def push(rollouts: Rollouts, version: str, **changes: Any) -> None:
    await rollouts.apply(rollouts.target(rollouts.sleeper(version), replicas=None, **changes))


async def test_a_worse_model_never_gets_traffic_and_a_better_one_is_compared_with_the_incumbent(
    kube: KubeClient, rollouts: Rollouts
) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), evaluation(rollouts, 0.95), gated(rollouts))
        await rollouts.phase("Initialized")
        await push(rollouts, "2")
        await rollouts.phase("Succeeded")
        assert await rollouts.version("chat-primary") == "2"
        passed = f"Gate quality of chat.{rollouts.namespace} passed: accuracy 0.95"
        await eventually(lambda: rollouts.told(passed))

        await rollouts.apply(evaluation(rollouts, 0.92))
        await push(rollouts, "3")
        await rollouts.phase("Failed")
        failed = (
            f"Gate quality of chat.{rollouts.namespace} failed: "
            "accuracy 0.92 is more than 0.02 below the incumbent's 0.95"
        )
        await eventually(lambda: rollouts.told(failed))
        jobs = await rollouts.admin.list("batch/v1", "Job", rollouts.namespace)
        assert len(jobs) == 2, "one for each revision"
        assert all(job["metadata"]["ownerReferences"][0]["kind"] == "Canary" for job in jobs)

        # The same revision once more, for instance after the evaluation itself was put right.
        await rollouts.apply(evaluation(rollouts, 0.94))
        await annotate(rollouts, command="retry by=jane")
        await rollouts.phase("Succeeded")
        assert await rollouts.version("chat-primary") == "3"


async def test_an_evaluation_that_cannot_tell_waits_for_a_person(kube: KubeClient, rollouts: Rollouts) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), gated(rollouts))
        await rollouts.phase("Initialized")
        await push(rollouts, "2")
        await eventually(lambda: _is_blocked(rollouts, "there is no CronJob evaluation in namespace"))
        await rollouts.apply(evaluation(rollouts, None))
        await eventually(lambda: _is_blocked(rollouts, "there is no accuracy in the report"))
        status = await rollouts.status()
        assert (status["phase"], status["failedChecks"]) == ("Progressing", 0)
        await annotate(rollouts, command="promote by=jane")
        await rollouts.phase("Succeeded")
        assert await rollouts.version("chat-primary") == "2"


async def test_a_report_in_git_counts_for_the_model_that_it_is_about(kube: KubeClient, rollouts: Rollouts) -> None:
    old, new = "1a" * 20, "2b" * 20
    gate = {"name": "quality", "type": "pre-rollout", "url": "report://scores/chat.json"}
    canary = gated(rollouts)
    canary["spec"]["analysis"]["webhooks"] = [{**gate, "metadata": {"min.accuracy": "0.9"}}]

    def serving(commit: str) -> Object:
        return {**rollouts.sleeper("1"), "args": ["--model", "org/chat", "--revision", commit]}

    def report(commit: str) -> Object:
        text = f'{{"metrics": {{"accuracy": 0.95}}, "subject": "hf://org/chat@{commit}"}}'
        metadata = {"name": "scores", "namespace": rollouts.namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"chat.json": text}}

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(serving(old)), report(old), canary)
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(serving(new), replicas=None))
        await eventually(lambda: _is_blocked(rollouts, f"the report is about hf://org/chat@{old}"))
        await rollouts.apply(report(new))
        await rollouts.phase("Succeeded")
        passed = f"Gate quality of chat.{rollouts.namespace} passed: accuracy 0.95"
        await eventually(lambda: rollouts.told(passed))


async def test_a_large_report_is_left_in_a_config_map(kube: KubeClient, rollouts: Rollouts) -> None:
    job, canary = evaluation(rollouts, None), gated(rollouts)
    script = 'printf "%s" "$WEIR_REPORT" > /dev/termination-log'
    job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"] = ["/bin/sh", "-c", script]
    canary["spec"]["analysis"]["webhooks"][0]["metadata"]["report"] = "configmap"
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), job, canary)
        await rollouts.phase("Initialized")
        await push(rollouts, "2")
        await eventually(lambda: _is_blocked(rollouts, "left no report in the ConfigMap that WEIR_REPORT names"))
        (pod,) = [
            found
            for found in await rollouts.admin.list("v1", "Pod", rollouts.namespace)
            if "job-name" in found["metadata"]["labels"]
        ]
        name = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
        harness = {"results": {"arc": {"acc,none": 0.93}}, "config": {}, "samples": ["x" * 100] * 1000}
        metadata = {"name": name, "namespace": rollouts.namespace}
        bounds = {"min.arc.acc": "0.9", "report": "configmap"}
        canary["spec"]["analysis"]["webhooks"][0]["metadata"] = bounds
        report = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        await rollouts.apply({**report, "data": {"results.json": json.dumps(harness)}}, canary)
        await rollouts.phase("Succeeded")
        await eventually(lambda: rollouts.told(f"Gate quality of chat.{rollouts.namespace} passed: arc.acc 0.93"))
        kept = await rollouts.get("ConfigMap", name, "v1")
        assert kept is not None
        assert kept["metadata"]["ownerReferences"][0]["kind"] == "Job", "it goes when the Job goes"


async def test_a_server_is_asked_until_it_has_its_report(kube: KubeClient, rollouts: Rollouts) -> None:
    asked: list[Object] = []

    async def score(request: web.Request) -> web.Response:
        asked.append(await request.json())
        if len(asked) == 1:
            return web.Response(status=202)
        if len(asked) == 2:
            return web.Response(status=500, text="out of memory")
        return web.json_response({"metrics": {"accuracy": 0.95}})

    app, port = web.Application(), free_port()
    app.router.add_post("/score", score)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    canary = gated(rollouts)
    canary["spec"]["analysis"]["webhooks"][0]["url"] = f"gate+http://127.0.0.1:{port}/score"
    try:
        async with canary_agent(kube, rollouts.namespace):
            await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
            await rollouts.phase("Initialized")
            await push(rollouts, "2")
            await rollouts.phase("Succeeded")
        texts = "\n".join(await rollouts.events())
    finally:
        await runner.cleanup()
    assert asked[0]["gate"] == "quality"
    assert asked[0]["canaryUrl"] == f"http://chat-canary.{rollouts.namespace}:80"
    assert f"gate quality: http://127.0.0.1:{port}/score is still evaluating" in texts
    assert f"gate quality: http://127.0.0.1:{port}/score answered 500: out of memory" in texts
    assert f"Gate quality of chat.{rollouts.namespace} passed: accuracy 0.95" in texts


async def test_a_server_that_asks_who_it_is_gets_the_credentials_of_a_secret(
    kube: KubeClient, rollouts: Rollouts
) -> None:
    async def score(request: web.Request) -> web.Response:
        sent = request.headers.get("Authorization", "")
        if sent != "Bearer hush-hush":
            return web.Response(status=401, text=f"{sent} is nobody")
        return web.json_response({"metrics": {"accuracy": 0.95}, "verdict": "pass", "reason": f"asked by {sent}"})

    def secret(token: str) -> Object:
        metadata = {"name": "judge", "namespace": rollouts.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": token}}

    async with listening(score) as url, canary_agent(kube, rollouts.namespace):
        canary = gated(rollouts)
        webhook = canary["spec"]["analysis"]["webhooks"][0]
        webhook["url"], webhook["metadata"] = f"gate+{url}/score", {"secretRef": "judge"}
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
        await rollouts.phase("Initialized")
        await push(rollouts, "2")
        await eventually(lambda: _is_blocked(rollouts, "gate quality: secret judge error:"))
        await rollouts.apply(secret("old-hush"))
        await eventually(lambda: _is_blocked(rollouts, f"{url}/score answered 401: Bearer ***** is nobody"))
        await rollouts.apply(secret("hush-hush"))
        await rollouts.phase("Succeeded")
        passed = f"Gate quality of chat.{rollouts.namespace} passed: asked by Bearer *****"
        await eventually(lambda: rollouts.told(passed))
    everything = json.dumps([await rollouts.get("Canary", NAME, FLAGGER), await rollouts.events()])
    assert "hush" not in everything


async def test_a_revision_waits_for_the_run_of_the_data_that_it_names(kube: KubeClient, rollouts: Rollouts) -> None:
    old, new = f"sha256:{'1a' * 32}", f"sha256:{'2b' * 32}"
    api, named = "weir.dev/v1alpha1", {"name": "retrain", "namespace": rollouts.namespace}
    canary = gated(rollouts)
    canary["spec"]["analysis"]["webhooks"][0]["url"] = "trigger://retrain"
    template = {"apiVersion": "batch/v1", "kind": "Job", "spec": {}}
    trigger = {"apiVersion": api, "kind": "DataTrigger", "metadata": named, "spec": {"template": template}}

    def made_from(version: str, data: str) -> Object:
        target = rollouts.target(rollouts.sleeper(version))
        target["spec"]["template"]["metadata"]["annotations"]["weir.dev/data-digest"] = data
        return target

    async def ran(state: str, **run: Any) -> None:
        """What the DataTrigger's own controller would write."""
        entry = {"name": "retrain-1", "kind": "Job", "data": new, "state": state, **run}
        await rollouts.admin.patch(
            api, "DataTrigger", rollouts.namespace, "retrain", {"status": {"runs": [entry]}}, subresource="status"
        )

    await rollouts.admin.apply_files([CRDS / "weir.dev_datatriggers.yaml"])
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(made_from("1", old), canary)
        await rollouts.phase("Initialized")
        await rollouts.apply(made_from("2", new))
        await eventually(lambda: _is_blocked(rollouts, "there is no DataTrigger retrain in namespace"))
        await rollouts.apply(trigger)
        await eventually(lambda: _is_blocked(rollouts, f"DataTrigger retrain has not run declared:{new} yet"))
        await ran("Running")
        await eventually(lambda: _is_blocked(rollouts, "Job retrain-1 is running"))
        assert await rollouts.version("chat-primary") == "1"
        await ran("Succeeded", metrics={"accuracy": 0.95}, verdict="pass")
        await rollouts.phase("Succeeded")
        assert await rollouts.version("chat-primary") == "2"
        await eventually(lambda: rollouts.told(f"Gate quality of chat.{rollouts.namespace} passed: accuracy 0.95"))
        new = f"sha256:{'3c' * 32}"
        await ran("Failed", message="out of memory")
        await rollouts.apply(made_from("3", new))
        await rollouts.phase("Failed")
        failed = f"Gate quality of chat.{rollouts.namespace} failed: out of memory; Job retrain-1 failed"
        await eventually(lambda: rollouts.told(failed))


async def _is_blocked(rollouts: Rollouts, text: str) -> bool:
    return text in await blocked(rollouts)
