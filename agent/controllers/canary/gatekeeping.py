"""Offline gates on the cluster: Jobs are started once a revision, looked at, and cleared for another run."""

from __future__ import annotations

import contextlib

import msgspec

from agent.adapters.authorization import UnusableCredentialsError
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from agent.adapters.kube.resource import CONFIG_MAPS, CRON_JOBS, JOBS, PODS, Object
from agent.adapters.webhooks import Webhooks
from agent.api.datatrigger import DataTrigger
from agent.controllers.canary.credentials import MissingCredentialsError, credentials_of
from agent.controllers.canary.kinds import CANARIES
from agent.controllers.canary.quarantining import asked_for
from agent.controllers.canary.tick import Tick
from agent.controllers.statuses import resource_of
from agent.core.rollout.actions import AskGates, ClearGates, KeepResults
from agent.core.rollout.gatejobs import job_name, job_of, observed, owned_by_job, report_name
from agent.core.rollout.gates import (
    JOB,
    REPORT,
    RESULTS,
    TRIGGER,
    Gate,
    Observed,
    about,
    answered,
    decode_results,
    encode_results,
    with_results,
)
from agent.core.rollout.hooks import evaluation_payload
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.core.rollout.subjects import subjects_of
from agent.core.trigger.gate import awaited, data_places

_PATIENCE = 10.0
"""Seconds that a gate's server has to answer, where the webhook gives no timeout; as Flagger's webhooks."""


class Gatekeeper:
    """Raises ApiError where the API server cannot be asked; a gate that is of no use is an answer, not an error."""

    def __init__(self, client: KubeClient, webhooks: Webhooks) -> None:
        self._client = client
        self._webhooks = webhooks

    async def ask(self, tick: Tick, action: AskGates) -> tuple[Observed, ...]:
        """How each gate stands with the revision, in their order; what has not run yet is started."""
        return tuple([await self._ask(tick, gate, action.revision) for gate in action.gates])

    async def clear(self, tick: Tick, action: ClearGates) -> None:
        """Delete the Jobs of earlier runs of the revision."""
        for gate in action.gates:
            if gate.kind != JOB or gate.error:
                continue
            name = job_name(tick.plan, gate, action.revision)
            with contextlib.suppress(NotFound):
                await self._client.delete(JOBS, tick.plan.namespace, name)

    async def keep(self, tick: Tick, action: KeepResults) -> None:
        """Note what gates have reported."""
        canary = tick.canary
        kept = with_results(decode_results(canary.metadata.annotations), action.results, action.promoted)
        annotations = {RESULTS: encode_results(kept)}
        patch = {"metadata": {"annotations": annotations}}
        await self._client.merge_patch(CANARIES, canary.namespace, canary.name, patch, field_manager=FIELD_MANAGER)
        metadata = msgspec.structs.replace(canary.metadata, annotations={**canary.metadata.annotations, **annotations})
        tick.canary = msgspec.structs.replace(canary, metadata=metadata)

    async def _ask(self, tick: Tick, gate: Gate, revision: str) -> Observed:
        if gate.error:
            return Observed(gate=gate.name, note=gate.error)
        if gate.kind == REPORT:
            return await self._read(tick, gate)
        if gate.kind == TRIGGER:
            return await self._trained(tick, gate)
        if gate.kind != JOB:
            return await self._evaluated(tick, gate, revision)
        name = job_name(tick.plan, gate, revision)
        job = await self._client.find(JOBS, tick.plan.namespace, name)
        if job is None:
            return await self._start(tick, gate, revision)
        pods = await self._client.list(
            PODS, tick.plan.namespace, label_selector=f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"
        )
        return observed(gate, job, pods.items, await self._left_by(job) if gate.in_config_map else None)

    async def _left_by(self, job: Object) -> Object | None:
        """The ConfigMap with a Job's report. It goes with the Job, unless whoever wrote it has said otherwise."""
        namespace, name = job["metadata"]["namespace"], report_name(job)
        found = await self._client.find(CONFIG_MAPS, namespace, name)
        if found is not None and not found["metadata"].get("ownerReferences"):
            found = owned_by_job(found, job)
            with contextlib.suppress(Conflict, NotFound):
                await self._client.replace(CONFIG_MAPS, namespace, name, found, field_manager=FIELD_MANAGER)
        return found

    async def _read(self, tick: Tick, gate: Gate) -> Observed:
        found = await self._client.find(CONFIG_MAPS, tick.plan.namespace, gate.source)
        return about(gate, (found or {}).get("data") or {}, _subjects(tick))

    async def _trained(self, tick: Tick, gate: Gate) -> Observed:
        namespace = tick.plan.namespace
        try:
            found = await self._client.find(resource_of(DataTrigger), namespace, gate.source)
        except Forbidden as error:
            return Observed(gate=gate.name, note=error.message)
        trigger = DataTrigger.from_object(found) if found is not None else None
        return awaited(gate, trigger, namespace, data_places(asked_for(tick.world) or ()))

    async def _evaluated(self, tick: Tick, gate: Gate, revision: str) -> Observed:
        subjects = _subjects(tick)
        body = evaluation_payload(tick.plan, gate.name, revision, subjects, _port(tick))
        timeout = _PATIENCE if gate.timeout is None else gate.timeout
        credentials = None
        try:
            if gate.secret:
                credentials = await credentials_of(self._client, tick.plan.namespace, gate.secret)
            status, text = await self._webhooks.evaluate(
                gate.source, body, timeout=timeout, verify_tls=gate.verify_tls, credentials=credentials
            )
        except MissingCredentialsError as error:
            return Observed(gate=gate.name, note=str(error))
        except UnusableCredentialsError as error:
            return Observed(gate=gate.name, note=f"secret {gate.secret} cannot be used: {error}")
        return answered(gate, status, text, subjects)

    async def _start(self, tick: Tick, gate: Gate, revision: str) -> Observed:
        plan = tick.plan
        template = await self._client.find(CRON_JOBS, plan.namespace, gate.source)
        if template is None:
            return Observed(gate=gate.name, note=f"there is no CronJob {gate.source} in namespace {plan.namespace}")
        job = job_of(template, plan, gate, revision, _environment(tick, revision))
        try:
            await self._client.create(JOBS, plan.namespace, job, field_manager=FIELD_MANAGER)
        except (AlreadyExists, Conflict):
            pass  # another pass was faster; it is looked at in the next one
        except (Invalid, Forbidden) as error:
            return Observed(gate=gate.name, note=f"Job {job['metadata']['name']} was refused: {error.message}")
        return Observed(gate=gate.name, running=True, note=f"Job {job['metadata']['name']} is running")


def _subjects(tick: Tick) -> frozenset[str]:
    wanted = asked_for(tick.world)
    return subjects_of(wanted) if wanted else frozenset()


def _environment(tick: Tick, revision: str) -> dict[str, str]:
    """What a Job needs to find what it is to evaluate."""
    plan, port = tick.plan, _port(tick)
    return {
        "WEIR_CANARY": plan.name,
        "WEIR_NAMESPACE": plan.namespace,
        "WEIR_TARGET": f"{plan.target_kind}/{plan.target}",
        "WEIR_REVISION": revision,
        "WEIR_CANARY_URL": f"http://{plan.service}-canary.{plan.namespace}:{port}",
        "WEIR_PRIMARY_URL": f"http://{plan.service}-primary.{plan.namespace}:{port}",
    }


def _port(tick: Tick) -> int:
    service = tick.canary.spec.service
    return service.port if service is not None else 80
