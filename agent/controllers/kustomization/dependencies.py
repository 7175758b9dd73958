"""`dependsOn`: the other Kustomizations as they are now, and what is said while they are not far enough."""

from __future__ import annotations

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.api.kustomization import Kustomization
from agent.controllers.fresh import Fresh
from agent.controllers.kustomization.expressions import Expressions
from agent.controllers.statuses import resource_of
from agent.core.dependencies import circle
from agent.errors import WaitingError


class DependencyError(WaitingError):
    """A dependency is not met. `circle` says how the dependencies lead back to where they start, if they do."""

    reason = "DependencyNotReady"

    def __init__(self, message: str, *, after: float, circle: str = "") -> None:
        super().__init__(f"{message}: {circle}" if circle else message, after=after)
        self.circle = circle


class Dependencies:
    """Reads what dependsOn names, also where this agent does not watch it: in another shard or namespace."""

    def __init__(
        self, objects: Fresh[Kustomization], client: KubeClient, expressions: Expressions, *, requeue: float
    ) -> None:
        self._objects = objects
        self._client = client
        self._expressions = expressions
        self._requeue = requeue

    async def check(self, kustomization: Kustomization, revision: str) -> None:
        """Raises DependencyError for the first one that is not met, ConfigurationError for an impossible readyExpr.

        `revision` is that of the source's current artifact.
        """
        keys = [kustomization.dependency_key(dependency) for dependency in kustomization.spec.depends_on]
        found = {key: await self._read(*key) for key in keys}
        reason = await self._expressions.unmet(kustomization, lambda *key: found[key], revision)
        if reason is None:
            return
        way = " -> ".join("/".join(key) for key in circle(kustomization, self._objects.get))
        why = f"spec.dependsOn goes round in a circle, {way}: remove one of these dependencies" if way else ""
        raise DependencyError(reason, after=self._requeue, circle=why)

    async def _read(self, namespace: str, name: str) -> Kustomization | None:
        known = self._objects.get(namespace, name)
        if known is not None:
            return known
        try:
            found = await self._client.find(resource_of(Kustomization), namespace, name)
            return Kustomization.from_object(found) if found is not None else None
        except ApiError as error:
            why = error.message
        except msgspec.ValidationError as error:
            why = str(error)
        raise DependencyError(f"dependency '{namespace}/{name}' cannot be read: {why}", after=self._requeue)
