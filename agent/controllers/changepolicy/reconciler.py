"""The status of ChangePolicies: whether all that a policy names is there and can be read.

What a policy does is done where Kustomizations are applied, whatever its status says. Here somebody who writes one
learns what is missing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NotFound
from agent.api.changepolicy import ChangePolicy, ChangePolicyStatus
from agent.api.datatrigger import DataTrigger
from agent.controllers.fresh import Fresh
from agent.controllers.registryaccess import CredentialsError, credentials
from agent.controllers.statuses import StatusWriter
from agent.core import conditions as c
from agent.core.policy.judging import fault
from agent.runtime.controller import Done, RequeueAfter, Result
from agent.runtime.store import Store
from agent.telemetry.events import EventRecorder, reference_to

Key = tuple[str, str]
COMPONENT: Final = "weir"
MANAGER: Final = "weir-changepolicy"
_MISSING: Final = 10.0
"""Seconds between two looks for what is not there; the kinds that policies name are not watched for this."""
_PRESENT: Final = 300.0


class ChangePolicyReconciler:
    """One pass: look at what the policy names, say so in its Ready condition, once in an event if it is not well."""

    def __init__(
        self,
        client: KubeClient,
        policies: Fresh[ChangePolicy],
        triggers: Store[DataTrigger],
        events: EventRecorder,
    ) -> None:
        self._client = client
        self._policies = policies
        self._triggers = triggers
        self._status = StatusWriter(client, ChangePolicy, policies, MANAGER)
        self._events = events

    async def reconcile(self, key: Key) -> Result:
        """Raises ApiError where the status cannot be written."""
        policy = self._policies.get(*key)
        if policy is None or policy.is_deleting:
            return Done()
        problems = await self._problems(policy)
        ready = c.true(c.READY, c.SUCCEEDED, "can be followed")
        if problems:
            ready = c.false(c.READY, problems[0][0], "; ".join(message for _, message in problems))
        before = c.find(policy.status.conditions, c.READY)
        now, generation = datetime.now(UTC).replace(microsecond=0), policy.metadata.generation
        conditions = c.merged(policy.status.conditions, [ready], generation=generation, now=now)
        try:
            await self._status.write(policy, ChangePolicyStatus(observed_generation=generation, conditions=conditions))
        except NotFound:
            return Done()
        if problems and (before is None or before.message != ready.message):
            involved = reference_to(policy)
            self._events.event(involved, "Warning", ready.reason, ready.message, component=COMPONENT)
        if problems:
            return RequeueAfter(_MISSING)
        return RequeueAfter(_PRESENT) if _secrets(policy) or _triggers(policy) else Done()

    async def _problems(self, policy: ChangePolicy) -> list[tuple[str, str]]:
        """(reason, message) of each thing that is wrong; the first one names the condition."""
        if why := fault(policy):
            return [("InvalidPolicy", f"{why}; nothing new is applied in this namespace until that is put right")]
        found = []
        for path, name in _secrets(policy):
            try:
                await credentials(self._client, policy.namespace, name)
            except CredentialsError as error:
                found.append((error.reason, f"{path}: {error.message}; this registry is not asked"))
        for path, name in _triggers(policy):
            if self._triggers.get(policy.namespace, name) is None:
                found.append(("TriggerNotFound", f"{path}: DataTrigger {name} is not there; {_CONSEQUENCE}"))
        return found


_CONSEQUENCE: Final = "no job runs for it, and its gate lets nothing through"


def _secrets(policy: ChangePolicy) -> list[tuple[str, str]]:
    """The Secrets that a policy names, with the fields in which it does."""
    listed = policy.spec.resolution.registries if policy.spec.resolution is not None else ()
    return [
        (f"spec.resolution.registries[{position}].secretRef", registry.secret_ref.name)
        for position, registry in enumerate(listed)
        if registry.secret_ref is not None
    ]


def _triggers(policy: ChangePolicy) -> list[tuple[str, str]]:
    """The DataTriggers that a policy names, with the fields in which it does."""
    return [
        (f"spec.rules[{position}].trigger", rule.trigger.name)
        for position, rule in enumerate(policy.spec.rules)
        if rule.trigger is not None
    ]
