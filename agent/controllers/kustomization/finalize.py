"""The end of a Kustomization: delete what it applied, if its policy says so, and let go of the finalizer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from agent.adapters.kube.errors import NotFound, silent
from agent.adapters.kube.resource import SERVICE_ACCOUNTS
from agent.adapters.kube.target import Target
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.kubeconfig import KubeConfigError
from agent.controllers.kustomization.prune import prune
from agent.controllers.kustomization.reporter import Reporter
from agent.controllers.statuses import StatusWriter
from agent.core.changeset import Action
from agent.core.inventory import Entry, parse_id
from agent.core.objects import ObjectKey
from agent.errors import ConfigurationError, OperationError, PruneError
from agent.runtime.controller import Done, RequeueAfter, Result

_POLL = 2.0
Key = tuple[str, str]
TargetOf = Callable[[Kustomization], Awaitable[Target]]
HeirsOf = Callable[[Kustomization, tuple[Entry, ...]], Awaitable[Mapping[ObjectKey, Key]]]


@dataclass(frozen=True, slots=True)
class _Deleting:
    """Objects that are on their way out, and until when (monotonic seconds) that is waited for."""

    uid: str
    entries: tuple[Entry, ...]
    deadline: float


class Finalizer:
    """Finalises Kustomizations. Always makes progress: what stops it is in an event."""

    def __init__(
        self,
        status: StatusWriter[Kustomization],
        reporter: Reporter,
        agent: Target,
        *,
        default_service_account: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._status = status
        self._reporter = reporter
        self._agent = agent
        self._default_account = default_service_account
        self._clock = clock
        self._deleting: dict[Key, _Deleting] = {}
        self._awaited: dict[Key, _Deleting] = {}
        self._locked_out: dict[Key, _Deleting] = {}

    async def finalize(self, kustomization: Kustomization, target_of: TargetOf, heirs_of: HeirsOf) -> Result:
        """Prune and remove the finalizer; with WaitForTermination in several passes, until the objects are gone.

        `target_of` gives the cluster as whoever applied the objects; it is only asked if there is something to delete.
        `heirs_of` says who is about to take objects over (a Kustomization was renamed): they get the time to do so.

        Raises PruneError if a deletion was refused or the other cluster cannot be reached: the queue tries again, and
        the finalizer stays. If the credentials for that cluster are gone, that lasts as long as the timeout of the
        Kustomization.
        """
        key = (kustomization.namespace, kustomization.name)
        deleting = self._deleting.get(key)
        if deleting is None or deleting.uid != kustomization.metadata.uid:
            entries = self._readable(kustomization) if await self._may_delete(kustomization) else ()
            if entries and await self._is_awaited(kustomization, await heirs_of(kustomization, entries)):
                return RequeueAfter(_POLL)
            deleting = await self._delete_objects(kustomization, target_of, entries)
            self._deleting[key] = deleting
        waits = kustomization.waits_for_termination and bool(deleting.entries)
        if waits and await self._await_gone(kustomization, target_of, deleting):
            return RequeueAfter(_POLL)
        await self._status.remove_finalizer(kustomization)
        self._deleting.pop(key, None)
        self._awaited.pop(key, None)
        self._locked_out.pop(key, None)
        return Done()

    async def _is_awaited(self, kustomization: Kustomization, heirs: Mapping[ObjectKey, Key]) -> bool:
        """True while somebody is about to take objects over, for as long as the timeout of the Kustomization."""
        key = (kustomization.namespace, kustomization.name)
        known = self._awaited.get(key)
        if known is None or known.uid != kustomization.metadata.uid:
            if not heirs:
                return False
            known = _Deleting(kustomization.metadata.uid, (), self._clock() + kustomization.effective_timeout())
            self._awaited[key] = known
            names = ", ".join(sorted({"/".join(heir) for heir in heirs.values()}))
            self._reporter.waiting(kustomization, f"{len(heirs)} objects are left to Kustomization {names}")
        return bool(heirs) and self._clock() < known.deadline

    async def _target(self, kustomization: Kustomization, target_of: TargetOf) -> Target | None:
        """Where to delete; None if nobody can any more. Raises PruneError while somebody may be able to later."""
        key, uid = (kustomization.namespace, kustomization.name), kustomization.metadata.uid
        try:
            target = await target_of(kustomization)
        except KubeConfigError as error:
            known = self._locked_out.get(key)
            if not error.gone or known is None or known.uid != uid:
                known = _Deleting(uid, (), self._clock() + kustomization.effective_timeout())
                self._locked_out[key] = known
            if self._clock() < known.deadline:
                message = f"{error.message}; to leave the objects there, set spec.deletionPolicy to Orphan"
                self._reporter.warn(kustomization, f"pruning for deleted resource failed: {message}")
                raise PruneError(message) from None
            self._reporter.warn(
                kustomization, f"unable to prune objects: {error.message}; they are left on the other cluster"
            )
            return None
        self._locked_out.pop(key, None)
        return target

    async def _delete_objects(
        self, kustomization: Kustomization, target_of: TargetOf, entries: tuple[Entry, ...]
    ) -> _Deleting:
        deadline = self._clock() + kustomization.effective_timeout()
        target = await self._target(kustomization, target_of) if entries else None
        if target is None:
            return _Deleting(kustomization.metadata.uid, (), deadline)
        pruned = await prune(target, (kustomization.namespace, kustomization.name), entries)
        self._reporter.finalized(kustomization, pruned.changes)
        try:
            pruned.raise_on_failure()
        except PruneError as error:
            self._reporter.warn(kustomization, f"pruning for deleted resource failed: {error.message}")
            raise
        deleted = {change.key for change in pruned.changes.having(Action.DELETED)}
        gone = tuple(entry for entry in entries if entry.key in deleted)
        return _Deleting(kustomization.metadata.uid, gone, deadline)

    async def _may_delete(self, kustomization: Kustomization) -> bool:
        inventory = kustomization.status.inventory
        if kustomization.spec.suspend or not kustomization.deletes_objects or not (inventory and inventory.entries):
            return False
        if kustomization.spec.kube_config is not None:
            return True  # its ServiceAccount is one of the other cluster, which alone knows what that may do
        account = kustomization.spec.service_account_name or self._default_account
        if account and not await self._account_exists(kustomization.namespace, account):
            names = "\n".join(str(entry.key) for entry in self._readable(kustomization))
            self._reporter.warn(
                kustomization,
                f"unable to prune objects: ServiceAccount {kustomization.namespace}/{account}, as which they were "
                f"applied, is gone; the objects are left as they are:\n{names}",
            )
            return False
        return True

    def _readable(self, kustomization: Kustomization) -> tuple[Entry, ...]:
        """The inventory. What somebody wrote into it that is no entry cannot be deleted, and must not stop the rest."""
        inventory = kustomization.status.inventory
        readable = []
        for entry in inventory.entries if inventory else ():
            try:
                readable.append(Entry(parse_id(entry.id), entry.v))
            except ValueError as error:
                self._reporter.warn(kustomization, f"unable to prune objects: {error}")
        return tuple(readable)

    async def _account_exists(self, namespace: str, name: str) -> bool:
        try:
            return await self._agent.client.find(SERVICE_ACCOUNTS, namespace, name, metadata_only=True) is not None
        except ConfigurationError:
            return False  # no ServiceAccount can have that name

    async def _await_gone(self, kustomization: Kustomization, target_of: TargetOf, deleting: _Deleting) -> bool:
        """True if some are still there and may have more time."""
        late = await _left(kustomization, target_of, deleting.entries)
        if late and self._clock() >= deleting.deadline:
            names = ", ".join(str(entry.key) for entry in late)
            self._reporter.warn(kustomization, f"failed to wait for resources termination: {names}")
            return False
        return bool(late)


async def _left(kustomization: Kustomization, target_of: TargetOf, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Those that are still there, as far as anybody can tell."""
    try:
        target = await target_of(kustomization)
    except KubeConfigError:
        return entries
    left: list[Entry] = []
    for position, entry in enumerate(entries):
        try:
            resource = await target.discovery.resource(entry.api_version, entry.key.kind)
            if await target.client.find(resource, entry.key.namespace, entry.key.name, metadata_only=True) is not None:
                left.append(entry)
        except (NotFound, ConfigurationError):
            continue
        except OperationError as error:
            if silent(error):  # each of the others would wait for as long
                return (*left, *entries[position:])
            left.append(entry)
    return tuple(left)
