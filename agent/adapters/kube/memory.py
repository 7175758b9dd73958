"""What passes have found out about the objects of one cluster, so that they need not ask for it again.

A finding belongs to the identity that made it: what the agent or another tenant may see proves nothing about what this
one may.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.api.kustomization import HealthCheckExpr
from agent.core.claims import owner_of
from agent.core.fingerprint import Fingerprint
from agent.core.objects import Manifest, ObjectKey


@dataclass(frozen=True, slots=True)
class _Verified:
    """`wanted` is the hash of what was asked for, and by whom; `owner` the Kustomization that the labels name."""

    wanted: str
    fingerprint: Fingerprint
    owner: tuple[str, str] | None


class Memory:
    """Of one cluster, for as long as there is a connection to it."""

    def __init__(self) -> None:
        self._verified: dict[ObjectKey, _Verified] = {}
        self._healthy: dict[ObjectKey, dict[str, tuple[str, HealthCheckExpr | None]]] = {}

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._verified.pop(key, None)
        self._healthy.pop(key, None)

    def verified(self, key: ObjectKey, wanted: str, live: Manifest, fingerprint: Fingerprint) -> None:
        """The object is as `wanted` says; `live` is what the API server answered."""
        self._verified[key] = _Verified(wanted, fingerprint, owner_of(live))

    def is_verified(self, key: ObjectKey, wanted: str, now: Fingerprint | None) -> bool:
        """True if the live object is the one that was found to be as wanted."""
        known = self._verified.get(key)
        return known is not None and (known.wanted, known.fingerprint) == (wanted, now)

    def wanted(self, key: ObjectKey) -> str | None:
        """The hash of what the object was found to be, None if it was not verified."""
        known = self._verified.get(key)
        return known.wanted if known is not None else None

    def applied_by(self, key: ObjectKey) -> tuple[str, str] | None:
        """The Kustomization (namespace, name) that has verified the object in this process."""
        known = self._verified.get(key)
        return known.owner if known is not None else None

    def untouched(self, key: ObjectKey, now: Fingerprint | None) -> bool:
        """True if the live object is as it was when it was last verified."""
        known = self._verified.get(key)
        return known is not None and known.fingerprint == now

    def healthy(self, key: ObjectKey, identity: str, version: str, rule: HealthCheckExpr | None) -> None:
        """`identity` has read the object at this resource version, and it was healthy by that rule."""
        self._healthy.setdefault(key, {})[identity] = (version, rule)

    def is_healthy(self, key: ObjectKey, identity: str, version: str | None, rule: HealthCheckExpr | None) -> bool:
        """True if this very version was found healthy by the same identity and rule."""
        return version is not None and self._healthy.get(key, {}).get(identity) == (version, rule)
