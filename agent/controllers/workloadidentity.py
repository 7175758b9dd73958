"""Who logs in to a cloud on behalf of an object: a ServiceAccount of its namespace, or the agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from agent.adapters.identity import ServiceAccount
from agent.errors import ConfigurationError
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class WorkloadAccounts:
    """`object_level` is Flux's feature gate ObjectLevelWorkloadIdentity.

    With a `default` account nobody logs in to a cloud as the agent itself.
    """

    object_level: bool = False
    default: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the agent's flags have it."""
        return cls(settings.gates.object_level_workload_identity, settings.default_service_account)

    def account(self, namespace: str, name: str | None, field: str) -> ServiceAccount | None:
        """The ServiceAccount, None for the agent. Raises ConfigurationError if the gate is closed; `field` is named."""
        chosen = name or self.default
        if not chosen:
            return None
        if not self.object_level:
            raise ConfigurationError(
                f"to use {field} for provider authentication please enable the ObjectLevelWorkloadIdentity feature "
                "gate in the controller",
                reason="FeatureGateDisabled",
            )
        return ServiceAccount(namespace, chosen)
