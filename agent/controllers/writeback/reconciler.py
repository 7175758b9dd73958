"""One pass over one Canary that has rejected something: may it be written back, was it, and if not, write it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from agent.adapters.git import GitProxy, PushDeclinedError, proxy_from_secret
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NotFound
from agent.adapters.kube.resource import KNATIVE_SERVICES, SECRETS
from agent.adapters.kube.resource import Resource as KubeResource
from agent.adapters.traffic.kserve import served_resource
from agent.api.canary import Canary, CanaryPhase
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.canary.kinds import CANARIES, WORKLOADS
from agent.controllers.sources import SourceKey, SourceRegistry
from agent.controllers.writeback.credentials import login_of
from agent.controllers.writeback.locating import Moved, Place, Unlocatable
from agent.controllers.writeback.variables import origins_of, source_of
from agent.controllers.writeback.writing import Task, Writer
from agent.core.gitref import GitReference
from agent.core.normalize import OWNER_NAME, OWNER_NAMESPACE
from agent.core.objects import ObjectKey, labels_of
from agent.core.rollout.knative import is_knative
from agent.core.rollout.kserve.content import KINDS
from agent.core.rollout.ownership import FIELD_MANAGER
from agent.core.rollout.quarantine import QUARANTINE, Rejected, decode_quarantine
from agent.core.writeback.message import branch_for
from agent.core.writeback.policy import MODE, Policy, PolicyError, policy_of
from agent.core.writeback.result import STATUS, Written, declined, decode_written
from agent.errors import AuthenticationError, OperationError, WeirError
from agent.runtime.controller import Done, RequeueAfter, Result
from agent.runtime.queue import Priority, WorkQueue
from agent.runtime.store import Store
from agent.telemetry.events import EventRecorder, EventType, reference_to
from agent.telemetry.logging import named

Key = tuple[str, str]
COMPONENT = "weir"
REASON = "WriteBack"
_AGAIN = 300.0
"""Seconds until what depends on people, or on other objects' annotations, is looked at again."""
_FIRST, _LONGEST = 2.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBackParts:
    """What a pass works with."""

    client: KubeClient
    repositories: Store[GitRepository]
    kustomizations: Store[Kustomization]
    registry: SourceRegistry
    writer: Writer
    home: Callable[[Kustomization], KubeClient]
    events: EventRecorder
    wake: Callable[[Key], None]
    """Has a GitRepository looked at soon."""


class WriteBackReconciler:
    """`reconcile` is the pass for `agent.runtime.controller.Controller`."""

    def __init__(self, parts: WriteBackParts) -> None:
        self._parts = parts
        self._failures: dict[Key, int] = {}

    async def reconcile(self, key: Key) -> Result:
        """One pass. What fails is in the Canary's annotation; raises ApiError only where that cannot be had."""
        raw = await self._parts.client.find(CANARIES, *key)
        canary = Canary.from_object(raw) if raw is not None else None
        entries = rejections(canary) if canary is not None else ()
        known = decode_written(canary.metadata.annotations) if canary is not None else None
        if canary is None or not entries:
            self._failures.pop(key, None)
            return Done()
        revision = entries[0].revision
        known = known if known is not None and known.revision == revision else None
        if known is not None and known.settled:
            return Done()
        try:
            written = await self._written(canary, entries, known)
        except (Unlocatable, PolicyError) as error:
            written = Written(revision=revision, state="refused", text=str(error))
        except Moved as error:
            written = Written(revision=revision, state="dropped", text=str(error))
        except WeirError as error:
            if known is not None and known.state == "proposed":  # what became of the pull request can wait
                named("canary").info("the pull request cannot be looked at", url=known.url, error=error.message)
                return RequeueAfter(_AGAIN)
            return await self._failed(canary, Written(revision=revision, state="failed", text=error.message))
        self._failures.pop(key, None)
        if written is None:
            return RequeueAfter(_AGAIN)
        await self._record(canary, written)
        return Done() if written.settled else RequeueAfter(_AGAIN)

    async def _written(self, canary: Canary, entries: Sequence[Rejected], known: Written | None) -> Written | None:
        """None where nobody asks for anything to be written. A push that was declined is not tried again."""
        found, revision = await self._found(canary), entries[0].revision
        if found is None:
            return None
        kustomization, repository, target = found
        policy = _policy(canary, repository)
        if policy.mode == "off":
            return None
        branch = policy.branch if policy.mode == "commit" else branch_for(canary.namespace, canary.name, revision)
        if known is not None and known.state == "declined" and known.branch == branch:
            return known
        source = self._parts.registry.get(SourceKey(GitRepository.KIND, repository.namespace, repository.name))
        if source is None:
            raise OperationError(f"GitRepository {repository.namespace}/{repository.name} has not been read yet")
        spec, secret = repository.spec, await self._secret(*policy.secret)
        proxy = await self._proxy(repository)
        task = Task(
            canary=(canary.namespace, canary.name),
            entries=entries,
            policy=policy,
            place=await self._place(kustomization, target),
            source=source,
            url=spec.url,
            timeout=repository.timeout,
            secret=secret,
            proxy=proxy,
            verified=spec.verify is not None,
            login=await login_of(spec.provider or "", spec.url, secret, "/".join(policy.secret), proxy),
        )
        try:
            written = await self._parts.writer.write(task)
        except PushDeclinedError as error:
            return declined(revision, branch, policy.mode, error.message)
        if written.state == "committed" or written.proposal == "merged":
            self._parts.wake((repository.namespace, repository.name))
        return written

    async def _place(self, kustomization: Kustomization, target: ObjectKey) -> Place:
        others, home = self._parts.kustomizations, self._parts.home
        neighbours = [
            other
            for other in others.list()
            if source_of(other) == source_of(kustomization)
            and (other.namespace, other.name) != (kustomization.namespace, kustomization.name)
        ]
        origins = await origins_of(kustomization, home(kustomization), others)
        return Place(kustomization=kustomization, target=target, neighbours=neighbours, origins=origins, home=home)

    async def _found(self, canary: Canary) -> tuple[Kustomization, GitRepository, ObjectKey] | None:
        """Who applies the target from where; None unless all of it is in the hands of this process."""
        kind = _kind_of_target(canary)
        if kind is None:
            return None
        target = await self._parts.client.find(kind, canary.namespace, canary.target_name)
        labels = labels_of(target) if target is not None else {}
        owner = labels.get(OWNER_NAMESPACE, ""), labels.get(OWNER_NAME, "")
        kustomization = self._parts.kustomizations.get(*owner)
        if kustomization is None or kustomization.spec.source_ref.kind != GitRepository.KIND:
            return None
        source = kustomization.spec.source_ref
        repository = self._parts.repositories.get(kustomization.source_namespace, source.name)
        if repository is None:
            return None
        return kustomization, repository, ObjectKey(kind.group, kind.kind, canary.namespace, canary.target_name)

    async def _secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        try:
            secret = await self._parts.client.get(SECRETS, namespace, name)
        except NotFound:
            raise AuthenticationError(f"secret {namespace}/{name} of the write-back is not there") from None
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    async def _proxy(self, repository: GitRepository) -> GitProxy | None:
        reference = repository.spec.proxy_secret_ref
        if reference is None:
            return None
        return proxy_from_secret(await self._secret(repository.namespace, reference.name))

    async def _failed(self, canary: Canary, written: Written) -> Result:
        key = (canary.namespace, canary.name)
        count = self._failures[key] = self._failures.get(key, 0) + 1
        await self._record(canary, written)
        return RequeueAfter(min(_FIRST * 2 ** (count - 1), _LONGEST))

    async def _record(self, canary: Canary, written: Written) -> None:
        """On the Canary and in an event, unless it is known already."""
        if written.says(decode_written(canary.metadata.annotations)):
            return
        stamped = msgspec.structs.replace(written, at=datetime.now(UTC).replace(microsecond=0))
        patch = {"metadata": {"annotations": {STATUS: msgspec.json.encode(stamped).decode()}}}
        await self._parts.client.merge_patch(
            CANARIES, canary.namespace, canary.name, patch, field_manager=FIELD_MANAGER
        )
        named("canary").info(written.text, state=written.state, commit=written.commit, url=written.url)
        kind: EventType = "Normal" if written.state in {"committed", "proposed", "dropped"} else "Warning"
        self._parts.events.event(reference_to(canary), kind, REASON, written.text, component=COMPONENT)


def _kind_of_target(canary: Canary) -> KubeResource | None:
    """None for a target that has no references: a core Service."""
    wanted = canary.spec.target_ref.kind
    if is_knative(canary):
        return KNATIVE_SERVICES
    return WORKLOADS.get(wanted) or (served_resource(canary) if wanted in KINDS else None)


def rejections(canary: Canary) -> tuple[Rejected, ...]:
    """The entries of the revision that the Canary has rejected last, while it stands at that."""
    if canary.status.phase is not CanaryPhase.FAILED or canary.is_deleting:
        return ()
    present = canary.status.last_applied_spec
    return tuple(entry for entry in decode_quarantine(canary.metadata.annotations) if entry.revision == present)


def watch_rejections(store: Store[Canary], queue: WorkQueue[Key]) -> None:
    """Queue a Canary when it rejects something, and when its annotations change while it stands rejected."""

    def changed(old: Canary | None, new: Canary | None) -> None:
        if new is None or not rejections(new):
            return
        if old is None or old.status.phase != new.status.phase or _asked(old) != _asked(new):
            queue.add((new.namespace, new.name), Priority.SPEC)

    store.subscribe(changed)


def _asked(canary: Canary) -> dict[str, str]:
    """The annotations that a pass reads, whether a result is there, and when somebody asked for a pass."""
    annotations = canary.metadata.annotations
    asked = {key: value for key, value in annotations.items() if key.startswith(MODE) and key != STATUS}
    asked |= {QUARANTINE: annotations.get(QUARANTINE, ""), STATUS: str(STATUS in annotations)}
    return {**asked, "": canary.requested_at or ""}


def _policy(canary: Canary, repository: GitRepository) -> Policy:
    reference = GitReference.from_spec(repository.spec.ref)
    return policy_of(
        canary.metadata.annotations,
        repository.metadata.annotations,
        namespaces=(canary.namespace, repository.namespace),
        url=repository.spec.url,
        follows=_followed(reference),
    )


def _followed(reference: GitReference) -> str:
    """The branch that a GitRepository follows; empty for tags, commits and other names."""
    if reference.commit or reference.tag or reference.semver:
        return ""
    if reference.name:
        return reference.name.removeprefix("refs/heads/") if reference.name.startswith("refs/heads/") else ""
    return reference.branch or "master"
