"""The Lease object behind `agent.runtime.leadership`."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Conflict, Forbidden
from agent.adapters.kube.resource import LEASES, Object
from agent.errors import OperationError
from agent.runtime.leadership import LeaseRecord, LeaseRefused, LeaseTaken


class KubeLease:
    """`LeaseStore` of one Lease.

    Give it a client of its own: behind the requests of a busy client, renewing would come too late.
    """

    def __init__(self, client: KubeClient, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    async def get(self) -> LeaseRecord | None:
        """The record, or None where the Lease does not exist. Raises LeaseRefused, as the others do."""
        try:
            found = await self._client.find(LEASES, self._namespace, self._name)
        except Forbidden as error:
            raise self._refused(error) from None
        return None if found is None else record_of(found)

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Create the Lease. Raises LeaseTaken."""
        try:
            manifest = self._manifest(replace(record, version=""))
            return record_of(await self._client.create(LEASES, self._namespace, manifest))
        except Conflict as error:
            raise LeaseTaken(error.message) from None
        except Forbidden as error:
            raise self._refused(error) from None

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the Lease of that resource version. Raises LeaseTaken."""
        try:
            return record_of(await self._client.replace(LEASES, self._namespace, self._name, self._manifest(record)))
        except Conflict as error:
            raise LeaseTaken(error.message) from None
        except Forbidden as error:
            raise self._refused(error) from None

    def _refused(self, error: Forbidden) -> OperationError:
        if " cannot " not in error.message:
            return error  # a quota, a webhook, a namespace that goes: they say themselves what is the matter
        return LeaseRefused(
            f"{error.message}; in namespace {self._namespace} a Role, bound to the agent's ServiceAccount, has to "
            f"allow get and update of the lease {self._name}, and create of leases (group coordination.k8s.io)"
        )

    def _manifest(self, record: LeaseRecord) -> Object:
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        if record.version:
            metadata["resourceVersion"] = record.version
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": record.holder,
                "leaseDurationSeconds": max(round(record.duration), 1),
                "acquireTime": _micro_time(record.acquired),
                "renewTime": _micro_time(record.renewed),
                "leaseTransitions": record.transitions,
            },
        }


def record_of(lease: Object) -> LeaseRecord:
    """The record of a Lease object; what is missing counts as long ago."""
    spec = lease.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration=float(spec.get("leaseDurationSeconds") or 1),
        acquired=_parsed(spec.get("acquireTime")),
        renewed=_parsed(spec.get("renewTime")),
        transitions=int(spec.get("leaseTransitions") or 0),
        version=lease["metadata"]["resourceVersion"],
    )


def _micro_time(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parsed(text: str | None) -> dt.datetime:
    return dt.datetime.fromisoformat(text) if text else dt.datetime.fromtimestamp(0, dt.UTC)
