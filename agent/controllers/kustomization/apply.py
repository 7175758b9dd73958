"""Staged server-side apply, as kustomize-controller does it: per stage, dry-run everything, then write what drifted.

One difference: an object whose desired content and whose live fingerprint are both the ones that were verified last
is not asked about again. Nothing of a stage is written if one of its dry runs fails.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.adapters.kube.errors import ApiError, Conflict, Invalid, Malformed, NoMatch, NotFound, silent
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.target import Target
from agent.api.kustomization import FIELD_MANAGER, IgnoreRule
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.controllers.kustomization.stages import await_current, until
from agent.core.changeset import Action, Change, ChangeSet
from agent.core.claims import Handling, handling, owner_of, recreates
from agent.core.concealment import concealed
from agent.core.drift import drifted
from agent.core.fingerprint import fingerprint_of
from agent.core.health import Status, status_of
from agent.core.objects import Manifest, ObjectKey, content_hash, key_of, without_namespace
from agent.core.ordering import staged
from agent.core.ownership import adopted, noting_replicas, yielded
from agent.core.rollout.kserve.content import noting_wanted, withheld
from agent.core.rollout.ownership import WANTED_REPLICAS
from agent.core.selector import ignored_fields
from agent.core.takeover import Takeover, predecessors, takeover, version_migration
from agent.core.undeclared import undeclared, without_fields
from agent.errors import ApplyError, WeirError

_PROBE_NAME = 40  # characters of an object's name in that of its probe; the shortest limit of a kind is 52
_WRITTEN = (Action.CREATED, Action.CONFIGURED)
_TAKEOVERS = 5  # attempts at an object whose status is written all the time
_IMMUTABLE = re.compile(r"is immutable|immutable field")


class PartialApplyError(ApplyError):
    """An apply that failed in the middle: `done` says what it had changed by then.

    `touched` is False only if it is certain that nothing was: a write whose answer was lost may have happened.
    """

    def __init__(self, message: str, done: ChangeSet, *, tried: bool = False) -> None:
        lines = done.text()
        super().__init__(f"{message}\n{lines}" if lines else message)
        self.done = done
        self.touched = tried or bool(done.written)

    def conceal(self, values: frozenset[str]) -> None:
        """Take values out of the message."""
        self.message = concealed(self.message, values)
        self.args = (self.message,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRequest:
    """What to apply and how.

    `objects` are normalised; `yields` are JSON pointers to fields that a rollout owns, `ignore` the drift-ignore rules.
    Objects that are `stored` in the inventory are known to exist, or to have. Nothing is written before `ready`, whose
    error is raised instead.
    """

    owner: tuple[str, str]
    objects: tuple[Manifest, ...]
    stored: frozenset[ObjectKey] = frozenset()
    force: bool = False
    verify_all: bool = False
    yields: Mapping[ObjectKey, tuple[str, ...]] = field(default_factory=dict)
    ignore: tuple[IgnoreRule, ...] = ()
    ready: asyncio.Future[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """One object after its dry run: what is to be written, and whether anything is.

    `wanted` is the hash of what was asked for; `payload` is that without the fields that another party owns, which are
    the `ignored` ones, and `withheld` names those that wait for a rollout; `undeclared` fields are left out, too.
    `takeover` comes before the write. `settled` is False if the live object is not ready.
    """

    key: ObjectKey
    resource: Resource
    payload: Manifest
    wanted: str
    action: Action
    ignored: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    takeover: Takeover | None = None
    migrated: bool = False
    recreate: bool = False
    settled: bool = True


class Applier:
    """Applies objects as the target's client; what it verified is in the memory of the target's cluster."""

    def __init__(
        self,
        *,
        concurrency: int = 4,
        custom_stage_kinds: frozenset[str] = frozenset(),
        override_managers: tuple[str, ...] = (),
        migrate_api_version: bool = False,
        claimed_by_other: Callable[[ObjectKey, tuple[str, str], tuple[str, str]], str | None],
        shortcuts: Shortcuts,
    ) -> None:
        self._concurrency = concurrency
        self._shortcuts = shortcuts
        self._custom = custom_stage_kinds
        self._earlier = predecessors(FIELD_MANAGER, override_managers)
        self._migrates = migrate_api_version
        self._claimed_by_other = claimed_by_other

    async def apply(self, target: Target, request: ApplyRequest) -> ChangeSet:
        """Apply all stages.

        Raises PartialApplyError with every failed dry run of the first stage that has one.
        """
        done = ChangeSet()
        for stage, manifests in staged(request.objects, self._custom):
            steps = await self._plan_stage(target, request, manifests, done)
            if request.ready is not None and any(step.action in _WRITTEN for step in steps):
                await request.ready
            done = await self._write_stage(target, steps, done)
            if stage.waits:
                await self._await_stage(target, steps, done)
        return done

    async def _plan_stage(
        self, target: Target, request: ApplyRequest, manifests: list[Manifest], done: ChangeSet
    ) -> list[_Step]:
        limit = asyncio.Semaphore(self._concurrency)
        errors: list[str] = []
        unheard = False

        async def plan(manifest: Manifest) -> _Step | None:
            nonlocal unheard
            async with limit:
                if unheard:  # the others would wait as long for an answer
                    return None
                try:
                    return await self._plan_object(target, request, manifest)
                except WeirError as error:
                    unheard = unheard or silent(error)
                    errors.append(_dry_run_message(manifest, error))
                    return None

        steps = await _gather(plan(manifest) for manifest in manifests)
        if errors:
            raise PartialApplyError("\n".join(sorted(errors)), done)
        return [step for step in steps if step is not None]

    async def _plan_object(self, target: Target, request: ApplyRequest, manifest: Manifest) -> _Step:
        key = key_of(manifest)
        resource = await target.discovery.resource(manifest["apiVersion"], manifest["kind"])
        if resource.namespaced and not key.namespace:
            raise ApplyError(f"{key} namespace not specified: set metadata.namespace or spec.targetNamespace")
        await target.live.follow(resource)
        pointers = request.yields.get(key, ())
        if key.namespace and not resource.namespaced:
            manifest = without_namespace(manifest)
            key = key_of(manifest)
        # what another identity may do proves nothing about this one
        wanted = content_hash([manifest, pointers, msgspec.to_builtins(request.ignore), target.client.acting_as])
        known = target.memory.is_verified(key, wanted, target.live.fingerprint(key))
        if known and not request.verify_all and not self._shortcuts.verify:
            return _Step(key, resource, manifest, wanted, Action.UNCHANGED)
        step = _Step(key, resource, manifest, wanted, Action.CREATED)
        refusal: ApiError | None = None
        if key not in request.stored and target.live.lacks(key) and handling(manifest, None) is Handling.APPLY:
            created, refusal = await self._create(target, step)
            if created is not None:
                return created
        live = await target.client.find(resource, key.namespace, key.name)
        if live is None and refusal is not None:
            raise refusal
        if handling(manifest, live) is Handling.SKIP:
            return replace(step, action=Action.SKIPPED)
        await self._refuse_double_claim(key, live, request)
        if live is not None:
            step, live = await self._adapt(target, request, step, live, pointers)
        step = await self._dry_run(target, request, step, live)
        if known and self._shortcuts.verify:
            await self._compare(target, step)
        return step

    async def _create(self, target: Target, step: _Step) -> tuple[_Step | None, ApiError | None]:
        """The step, if a dry run tells that there is no such object yet: what would be created has no version.

        That saves a question. A refusal is for the caller to judge: what is there may have to be left alone.
        """
        before = await self._exists(target, step) if self._shortcuts.verify else None
        step, result = await self._try(target, step)
        if isinstance(result, ApiError):
            if silent(result):
                raise result
            return None, result
        new = "resourceVersion" not in result["metadata"]
        if self._shortcuts.verify and before == await self._exists(target, step):
            self._shortcuts.compared("new", str(step.key), same=new != before)
        return (step if new else None), None

    @staticmethod
    async def _exists(target: Target, step: _Step) -> bool:
        found = await target.client.find(step.resource, step.key.namespace, step.key.name, metadata_only=True)
        return found is not None

    async def _compare(self, target: Target, step: _Step) -> None:
        """Whether it would have been right not to ask about the object.

        One that somebody touched a moment ago says nothing about that: the watch will tell of it.
        """
        live = await target.client.find(step.resource, step.key.namespace, step.key.name)
        if live is not None and target.memory.untouched(step.key, fingerprint_of(live["metadata"])):
            self._shortcuts.compared("apply", str(step.key), same=step.action is Action.UNCHANGED)

    async def _adapt(
        self, target: Target, request: ApplyRequest, step: _Step, live: Manifest, pointers: tuple[str, ...]
    ) -> tuple[_Step, Manifest]:
        """What is to be sent where there is an object already: it has fields that others own, or owned before."""
        migrated = await self._migrate(target, request, step, live) if self._migrates else None
        live = migrated or live
        manifest, taken = step.payload, takeover(step.payload, live, FIELD_MANAGER, self._earlier)
        owned = taken.result if taken else live
        ignored = ignored_fields(request.ignore, manifest, live)
        payload = yielded(manifest, owned, FIELD_MANAGER, pointers)
        payload = adopted(payload, owned, FIELD_MANAGER, ignored)
        payload = noting_replicas(payload, manifest, pointers, WANTED_REPLICAS)
        payload = noting_wanted(payload, manifest, pointers)
        step = replace(step, payload=payload, ignored=pointers + ignored, withheld=withheld(manifest, live, pointers))
        return replace(step, takeover=taken, migrated=migrated is not None), live

    async def _migrate(self, target: Target, request: ApplyRequest, step: _Step, live: Manifest) -> Manifest | None:
        """The object with managedFields of the version that is applied (gate MigrateAPIVersion); None if they are."""
        operations = version_migration(live, step.payload["apiVersion"])
        if not operations:
            return None
        if request.ready is not None:
            await request.ready
        try:
            return await self._patch(target, step, operations)
        except ApiError as error:
            raise ApplyError(f"{step.key} failed to migrate API version: {error.message}") from None

    @staticmethod
    async def _patch(target: Target, step: _Step, operations: Sequence[Mapping[str, Any]]) -> Manifest:
        return await target.client.json_patch(
            step.resource, step.key.namespace, step.key.name, operations, field_manager=FIELD_MANAGER
        )

    async def _refuse_double_claim(self, key: ObjectKey, live: Manifest | None, request: ApplyRequest) -> None:
        current = owner_of(live) if live else None
        if current is None or current == request.owner:
            return
        if request.ready is not None:
            await request.ready  # claims are compared by the revision that the status tells of
        conflict = self._claimed_by_other(key, request.owner, current)
        if conflict:
            raise ApplyError(conflict)

    async def _dry_run(self, target: Target, request: ApplyRequest, step: _Step, live: Manifest | None) -> _Step:
        step, result = await self._try(target, step)
        if isinstance(result, ApiError):
            if live is None or not _is_immutable(result) or not (request.force or recreates(step.payload, live)):
                raise result
            await self._refuse_invalid(target, step, result)
            return replace(step, recreate=True)
        if live is None:
            return step
        if step.takeover or step.migrated or drifted(live, result, step.ignored):
            return replace(step, action=Action.CONFIGURED)
        self._remember(target, step, live)
        settled = status_of(live, datetime.now(UTC)).status is Status.CURRENT
        return replace(step, action=Action.UNCHANGED, settled=settled)

    async def _try(self, target: Target, step: _Step) -> tuple[_Step, Manifest | ApiError]:
        """A dry run, without the fields that the kind does not have: what the object would be, or the refusal."""
        try:
            return step, await target.client.apply(
                step.resource,
                step.key.namespace,
                step.key.name,
                step.payload,
                field_manager=FIELD_MANAGER,
                dry_run=True,
            )
        except Malformed as error:
            without = _without_undeclared(step, error)
            return (step, error) if without is step else await self._try(target, without)
        except ApiError as error:
            return step, error

    async def _refuse_invalid(self, target: Target, step: _Step, refusal: ApiError) -> None:
        """Raise the refusal if the new form would also be refused as a new object: deleting the old one would be loss.

        A dry run under a name that is free tells. Only faults that the update had as well count, since a second object
        may have some of its own (a name that its kind prescribes, a node port that the first one holds).
        """
        name = f"{step.key.name[:_PROBE_NAME]}-weir-probe"
        probe = {**step.payload, "metadata": {**step.payload["metadata"], "name": name}}
        try:
            await target.client.apply(
                step.resource, step.key.namespace, name, probe, field_manager=FIELD_MANAGER, dry_run=True
            )
        except Invalid as error:
            if frozenset(error.causes) & frozenset(refusal.causes):
                raise refusal from None
        except ApiError:
            return

    async def _write_stage(self, target: Target, steps: list[_Step], done: ChangeSet) -> ChangeSet:
        for step in steps:
            if step.action in _WRITTEN:
                try:
                    result = await self._write(target, step)
                except ApiError as error:
                    raise PartialApplyError(f"{step.key} apply failed: {error.message}", done, tried=True) from None
                except ApplyError as error:
                    raise PartialApplyError(error.message, done, tried=True) from None
                self._remember(target, step, result)
            done += ChangeSet((Change(step.key, step.action, step.withheld, step.undeclared),))
        return done

    async def _write(self, target: Target, step: _Step) -> Manifest:
        if step.recreate:
            await self._delete_and_wait(target, step)
        elif step.takeover:
            await self._take_over(target, step, step.takeover)
        applied = await self._apply(target, step)
        # The first apply to an object without a record of managers makes one of what was there before.
        found = takeover(step.payload, applied, FIELD_MANAGER, self._earlier)
        if found is None:
            return applied
        await self._take_over(target, step, found)
        return await self._apply(target, step)

    @staticmethod
    async def _apply(target: Target, step: _Step) -> Manifest:
        return await target.client.apply(
            step.resource, step.key.namespace, step.key.name, step.payload, field_manager=FIELD_MANAGER
        )

    async def _take_over(self, target: Target, step: _Step, taken: Takeover) -> None:
        """Take over what earlier managers own. Begins again if somebody changes the object meanwhile."""
        for attempt in range(_TAKEOVERS):
            try:
                await self._patch(target, step, taken.operations)
            except Conflict:
                if attempt + 1 == _TAKEOVERS:
                    raise
            except ApiError as error:
                raise ApplyError(f"{step.key} metadata.managedFields cleanup failed: {error.message}") from None
            else:
                return
            live = await target.client.get(step.resource, step.key.namespace, step.key.name)
            again = takeover(step.payload, live, FIELD_MANAGER, self._earlier)
            if again is None:
                return
            taken = again

    def _remember(self, target: Target, step: _Step, live: Manifest) -> None:
        target.memory.verified(step.key, step.wanted, live, target.live.observe(step.key, live))

    async def _delete_and_wait(self, target: Target, step: _Step) -> None:
        await target.client.delete(step.resource, step.key.namespace, step.key.name)

        async def gone() -> bool:
            return (
                await target.client.find(step.resource, step.key.namespace, step.key.name, metadata_only=True) is None
            )

        if not await until(gone):
            raise ApplyError(f"{step.key} was deleted to be created anew, but is still terminating: see its finalizers")

    async def _await_stage(self, target: Target, steps: list[_Step], done: ChangeSet) -> None:
        """Wait until this stage is served; what is skipped, or was verified earlier, is not waited for."""
        pending = {step.key: step for step in steps if step.action in _WRITTEN or not step.settled}
        for group in {_defined_group(step.payload) for step in pending.values()} - {""}:
            target.discovery.invalidate(group)
        failure = await await_current(target, {key: step.resource for key, step in pending.items()}) if pending else ""
        if failure:
            raise PartialApplyError(failure, done)


def _defined_group(manifest: Manifest) -> str:
    """The API group that a CustomResourceDefinition serves; other definitions serve none."""
    return str(manifest.get("spec", {}).get("group", "")) if manifest["kind"] == "CustomResourceDefinition" else ""


def _without_undeclared(step: _Step, refusal: Malformed) -> _Step:
    """The step without the fields that its kind does not have; the same if the refusal is about something else."""
    fields = undeclared(step.payload, refusal.message)
    payload = without_fields(step.payload, fields)
    if payload == step.payload:
        return step
    return replace(step, payload=payload, undeclared=tuple(sorted(step.undeclared + fields)))


def _is_immutable(error: ApiError) -> bool:
    return isinstance(error, Conflict | Invalid) or bool(_IMMUTABLE.search(error.message))


def _dry_run_message(manifest: Manifest, error: WeirError) -> str:
    if not isinstance(error, ApiError):
        return error.message
    key = key_of(manifest)
    if isinstance(error, NoMatch):
        return f"{key} dry-run failed: {error.message}"
    if isinstance(error, NotFound) and error.api_reason == "NotFound":
        return f"{key} not found: {error.message}"
    reason = f" ({error.api_reason})" if error.api_reason else ""
    return f"{key} dry-run failed{reason}: {error.message}"


async def _gather(plans: Iterable[Coroutine[None, None, _Step | None]]) -> list[_Step | None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(plan) for plan in plans]
    return [task.result() for task in tasks]
