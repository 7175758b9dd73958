"""The Kustomization controller: source -> build -> plan -> apply -> prune -> health -> status.

Reads as the pipeline. Every way in which a pass can end is an Outcome, folded into the status in one place and
written with one patch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from agent.adapters.kube.errors import NotFound
from agent.adapters.kube.target import Target
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.apply import ApplyRequest, PartialApplyError
from agent.controllers.kustomization.build import Built, Render
from agent.controllers.kustomization.checked import to_check
from agent.controllers.kustomization.checks import STEP, HealthChecks, Passed
from agent.controllers.kustomization.health import HealthFailedError
from agent.controllers.kustomization.parts import Parts, Settings
from agent.controllers.kustomization.policies import APPROVE
from agent.controllers.kustomization.prune import prune, refuse_empty
from agent.controllers.kustomization.run import Run
from agent.controllers.kustomization.scopes import scoped
from agent.controllers.kustomization.standing import Standing, Standings, Yields, state_of
from agent.controllers.kustomization.targets import UnprovenError
from agent.controllers.pace import paced
from agent.controllers.sources import RemoteArtifact, SourcePendingError, SourceSnapshot
from agent.controllers.statuses import StaleViewError
from agent.core.inventory import Entry, Inventory
from agent.core.objects import ObjectKey
from agent.core.outcome import Applied, Canceled, Failed, Outcome, Progress, Stalled, Suspended, fold, with_stale
from agent.core.selector import check_rules
from agent.errors import ConfigurationError, PruneError, UnexpectedError, WaitingError, WeirError
from agent.runtime.controller import Controller, Done, RequeueAfter, Result
from agent.runtime.queue import Priority
from agent.telemetry.tracing import note, span, traced

Key = tuple[str, str]


class KustomizationReconciler:
    """One pass for one key at a time; `attach` gives it the controller that runs its waits."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._settings = settings
        self._checks = HealthChecks(parts.health, parts.sources.find)
        self._standings = Standings()
        self._controller: Controller[Key] | None = None

    def attach(self, controller: Controller[Key]) -> None:
        """Waits run in this controller."""
        self._controller = controller
        self._checks.attach(controller)

    def overtake(self, key: Key, by: str) -> None:
        """What a Kustomization is built with has changed: a health check of the old form is pointless."""
        self._checks.overtake(key, by)

    async def reconcile(self, key: Key) -> Result:
        """One pass. Failures end in the status; only a vanished object or a lost API server is raised."""
        kustomization = self._parts.objects.get(*key)
        if kustomization is None:
            self._forget(key)
            return Done()
        try:
            if kustomization.is_deleting:
                return await self._finalize(kustomization)
            kustomization = await self._parts.status.add_finalizer(kustomization)
            if kustomization.spec.suspend:
                return await self._suspend(kustomization)
            with self._parts.reporter.measured(kustomization):
                return await self._pass(kustomization)
        except NotFound:
            self._forget(key)  # deleted while we looked at it
            return Done()
        except UnprovenError as error:
            assert self._controller is not None
            self._controller.spawn_wait(key, error.prove())
            return Done()

    async def _suspend(self, kustomization: Kustomization) -> Result:
        """Nothing is done any more. A health check that the status tells of has come to its end, too."""
        key = (kustomization.namespace, kustomization.name)
        self._parts.targets.release(key)
        check = self._checks.abandon(key)
        if check is not None and check.announce:
            by = f"{Kustomization.KIND}/{kustomization.namespace}/{kustomization.name}"
            kustomization = await self._publish(kustomization, Canceled(check.attempt, by))
            self._parts.reporter.canceled(Run(kustomization), check.attempt, by)
        await self._publish(kustomization, Suspended())
        return Done()

    async def _finalize(self, kustomization: Kustomization) -> Result:
        """The end. What holds it up is in the status as well, since there may be a person who has to do something."""
        assert self._controller is not None
        ended = self._controller.take_wait((kustomization.namespace, kustomization.name))
        target_of = partial(self._parts.targets.of, ended=ended)
        try:
            return await self._parts.finalizer.finalize(kustomization, target_of, self._heirs)
        except (PruneError, ConfigurationError) as error:
            await self._publish(kustomization, Failed(reason=error.reason, message=error.message))
            raise

    def _forget(self, key: Key) -> None:
        self._standings.forget(key)
        self._checks.forget(key)
        self._parts.builder.forget(key)
        self._parts.expressions.forget(key)
        self._parts.handover.forget(key)
        self._parts.targets.release(key)
        self._parts.reporter.forget(key)
        self._parts.changes.forget(key)
        self._parts.serving.forget(key)
        self._parts.adapters.forget(key)
        self._parts.policies.forget(key)

    async def _pass(self, kustomization: Kustomization) -> Result:
        assert self._controller is not None
        run = Run(kustomization, self._controller.take_wait((kustomization.namespace, kustomization.name)))
        try:
            return await self._finish_check(run) or await self._steps(run)
        except UnprovenError:
            raise
        except WeirError as error:
            return await self._fail(run, error)
        except Exception as error:
            await self._fail(run, UnexpectedError(error))
            raise

    async def _steps(self, run: Run) -> Result:
        """The pipeline."""
        kustomization = run.kustomization
        _refuse_unreadable(kustomization)
        await self._parts.expressions.check(kustomization)
        self._parts.builder.check(kustomization)
        found = await self._parts.sources.find(kustomization)
        run.revision, run.origin_revision = found.revision, found.origin_revision
        note(revision=found.revision)
        await self._parts.dependencies.check(kustomization, found.revision)
        source = await self._fetch(run, found)
        await self._parts.builder.require_folder(kustomization, source.tree)
        run.begin()
        run.at("Building manifests")
        target, home = await self._parts.targets.of(kustomization, run.ended), self._parts.targets.home(kustomization)
        with span("build"):
            render = await self._parts.builder.render(kustomization, source.tree, home)
            run.digest(render.digest)
            run.policies = await self._parts.policies.about(kustomization)
            standing = self._standing(run, target, render)
            if standing is not None and not self._parts.shortcuts.verify:
                return await self._stands(run, standing)
            built = await scoped(await self._parts.builder.prepare(kustomization, render), target.discovery)
        refuse_empty(kustomization, built.inventory, run.stored)
        detected = await self._parts.changes.detect(kustomization, source, built, home, run.policies)
        approved = await self._parts.policies.check(kustomization, run.policies, detected, built)
        if approved:
            approval = kustomization.metadata.annotations[APPROVE]
            await self._parts.changes.moves.release(kustomization, approved, approval)
        sides = self._parts.changes.base(run.key), built.rendered
        await self._parts.adapters.prepare(kustomization, run.policies, detected.records or (), sides, target)
        yields = self._yields(kustomization, built.inventory)
        built = await self._apply(run, target, built, yields)
        await self._announce(run, target, built)
        await self._prune(run, target, built, source)
        self._parts.policies.check_moves(kustomization, run.policies, detected, approved)
        if standing is not None:
            self._parts.shortcuts.compared("pass", "/".join(run.key), same=run.inventory == standing.inventory)
        self._standings.forget(run.key)
        if run.inventory == built.inventory and not run.policies:  # those look at each pass
            state = state_of(render.digest, kustomization.metadata.generation, target, yields)
            self._standings.remember(run.key, target, state, built.inventory)
        return await self._check_health(run, target, built)

    def _standing(self, run: Run, target: Target, render: Render) -> Standing | None:
        """What an earlier pass has found, if this one has nothing to do.

        That is: the same build, no object has moved, and those that are to be healthy are known to be.
        """
        kustomization, inventory = run.kustomization, self._standings.inventory(run.key)
        if run.requested or run.policies or not render.reused or inventory is None or run.stored != inventory:
            return None
        yields = self._yields(kustomization, inventory)
        state = state_of(render.digest, kustomization.metadata.generation, target, yields)
        standing = self._standings.of(run.key, target, state)
        if standing is None:
            return None
        entries = to_check(kustomization, inventory, standing.unchanged)
        healthy = self._parts.health.known_healthy(target, entries, kustomization.spec.health_check_exprs)
        return standing if healthy else None

    async def _stands(self, run: Run, standing: Standing) -> Result:
        """The end of a pass with nothing to do."""
        run.inventory, run.changes = standing.inventory, standing.unchanged
        self._parts.reporter.changed(run, run.changes)
        self._parts.handover.leave(run.key, {})
        checked = to_check(run.kustomization, standing.inventory, standing.unchanged)
        return await self._succeed(run, healthy_after=0.0 if checked else None, news=run.health_is_news)

    @traced("fetch")
    async def _fetch(self, run: Run, found: SourceSnapshot | RemoteArtifact) -> SourceSnapshot:
        """The files of the source. That a new revision of them is on its way is in the status meanwhile."""
        message = run.at("Fetching manifests")
        if isinstance(found, SourceSnapshot):
            return found
        if not run.settled:
            run.kustomization = await self._publish(run.kustomization, Progress(message=message))
        return await self._parts.sources.fetch(found)

    async def _write_ahead(self, run: Run, built: Built) -> Inventory:
        """Store the inventory of everything that may exist from now on. Returns the one that was stored before."""
        assert run.attempt is not None
        before = run.stored
        ahead = before.union(built.inventory)
        if ahead != before or not (built.reused or run.settled):
            outcome = Progress(attempt=run.attempt, message=run.at("Detecting drift"), inventory=ahead)
            run.kustomization = await self._publish(run.kustomization, outcome, newest=True)
        return before

    @traced("apply")
    async def _apply(self, run: Run, target: Target, built: Built, yields: Yields) -> Built:
        """Apply; returns what was built with the inventory in the order, and under the names, that it was applied.

        Dry runs begin at once; nothing is written before the inventory is.
        """
        kustomization, untouched, stored = run.kustomization, False, run.stored.keys()
        ahead = asyncio.create_task(self._write_ahead(run, built))
        try:
            run.changes = await self._parts.applier.apply(
                target,
                ApplyRequest(
                    owner=(kustomization.namespace, kustomization.name),
                    objects=built.objects,
                    stored=stored,
                    force=kustomization.spec.force,
                    verify_all=run.requested,
                    yields=yields,
                    ignore=kustomization.spec.ignore,
                    ready=ahead,
                ),
            )
        except PartialApplyError as error:
            untouched = not error.touched
            error.conceal(built.exposed)  # the API server quotes what it refuses
            raise
        except asyncio.CancelledError:
            ahead.cancel()
            raise
        finally:
            before = await ahead
            run.inventory = before if untouched else run.stored
        self._parts.reporter.changed(run, run.changes)
        self._parts.reporter.remarks(run, run.changes)
        return replace(built, inventory=built.inventory.applied(change.key for change in run.changes.changes))

    async def _announce(self, run: Run, target: Target, built: Built) -> None:
        """What was applied is told, and kept an eye on."""
        await self._parts.changes.announce(run.kustomization, built, run.revision, run.policies, target)
        self._parts.serving.follow(
            run.kustomization, run.revision, built.rendered, run.policies, target=target, exposed=built.exposed
        )

    def _yields(self, kustomization: Kustomization, inventory: Inventory) -> Yields:
        # Canaries of this cluster own nothing on another one
        owned = self._parts.rollout_fields() if kustomization.spec.kube_config is None else {}
        yields = {key: tuple(sorted(owned[key])) for key in inventory.keys() & owned.keys()}
        return yields | self._parts.adapters.pointers((kustomization.namespace, kustomization.name))

    @traced("prune")
    async def _prune(self, run: Run, target: Target, built: Built, source: SourceSnapshot) -> None:
        kustomization, stale = run.kustomization, run.stored.stale(built.inventory)
        owner = (kustomization.namespace, kustomization.name)
        run.inventory = built.inventory
        if not (stale and kustomization.spec.prune):
            self._parts.handover.leave(owner, {})
            return
        heirs = await self._parts.handover.heirs(kustomization, source, stale, self._parts.targets)
        run.inventory = built.inventory.union(Inventory(stale))
        self._parts.policies.check_prune(
            kustomization,
            run.policies,
            stale=sum(entry.key not in heirs for entry in stale),
            total=len(run.stored.entries),
            revision=run.revision,
        )
        pruned = await prune(target, owner, stale, kept=built.inventory.entries, heirs=heirs)
        survivors = tuple(entry for entry in stale if entry.key in pruned.failed or entry.key in pruned.left)
        run.inventory = built.inventory.union(Inventory(survivors))
        self._wake(self._parts.handover.leave(owner, {key: heirs[key] for key in pruned.left}))
        self._parts.reporter.changed(run, pruned.changes, pruned=True)
        run.changes += pruned.changes
        pruned.raise_on_failure()

    async def _heirs(self, kustomization: Kustomization, entries: tuple[Entry, ...]) -> Mapping[ObjectKey, Key]:
        """Who is about to take over what a Kustomization that is being deleted has applied."""
        try:
            found = await self._parts.sources.find(kustomization)
            source = found if isinstance(found, SourceSnapshot) else await self._parts.sources.fetch(found)
        except WeirError:
            return {}
        handover = self._parts.handover
        heirs = await handover.heirs(kustomization, source, entries, self._parts.targets)
        self._wake(handover.leave((kustomization.namespace, kustomization.name), heirs))
        return heirs

    def _wake(self, keys: Iterable[Key]) -> None:
        assert self._controller is not None
        for key in keys:
            self._controller.queue.add(key, Priority.REVISION)

    async def _check_health(self, run: Run, target: Target, built: Built) -> Result:
        entries = to_check(run.kustomization, built.inventory, run.changes)
        if not entries:
            return await self._succeed(run, healthy_after=None)
        moved = bool(run.changes.written)
        rules, home = run.kustomization.spec.health_check_exprs, run.kustomization.namespace
        if not moved and await self._parts.health.still_healthy(target, entries, rules, home=home):
            return await self._succeed(run, healthy_after=0.0, news=run.health_is_news)
        check = self._checks.begin(run, announce=moved or not run.settled)
        run.at(STEP)
        if check.announce:
            progress = Progress(
                attempt=run.attempt, message=run.progress, inventory=run.inventory, checking_health=True
            )
            run.kustomization = await self._publish(run.kustomization, progress)
        self._checks.wait(run, check, target, entries, built)
        return RequeueAfter(self._interval(run.kustomization))

    async def _finish_check(self, run: Run) -> Result | None:
        """The end of a health check, if it has come; None if a whole pass is due."""
        ended = await self._checks.ended(run)
        if isinstance(ended, Passed):
            return await self._succeed(run, healthy_after=ended.seconds, news=ended.check.news)
        if ended is not None:
            run.kustomization = await self._publish(run.kustomization, Canceled(ended.check.attempt, ended.by))
            self._parts.reporter.canceled(run, ended.check.attempt, ended.by)
        return None

    async def _succeed(self, run: Run, *, healthy_after: float | None, news: bool = False) -> Result:
        assert run.attempt is not None
        assert run.inventory is not None
        noteworthy = run.noteworthy
        outcome = Applied(
            attempt=run.attempt, inventory=run.inventory, healthy_after=healthy_after, noteworthy=noteworthy
        )
        run.kustomization = await self._publish(run.kustomization, outcome)
        if noteworthy:
            self._parts.reporter.succeeded(run, healthy_after if news else None)
        return RequeueAfter(self._interval(run.kustomization))

    async def _fail(self, run: Run, error: WeirError) -> Result:
        kustomization = run.kustomization
        if isinstance(error, SourcePendingError | StaleViewError):
            return RequeueAfter(error.after)
        # a check that is taken up again after a failure would have used up its time
        self._checks.forget(run.key)
        if isinstance(error, ConfigurationError):
            stalled = Stalled(reason=error.reason, message=error.message, observed=error.observed)
            await self._publish(kustomization, stalled)
            self._parts.reporter.failed(run, error)
            return Done()
        outcome = Failed(
            reason=error.reason,
            message=error.message,
            attempt=run.attempt,
            progress=run.progress,
            inventory=run.inventory,
            health=error.summary if isinstance(error, HealthFailedError) else "",
        )
        run.kustomization = await self._publish(kustomization, outcome)
        self._parts.reporter.failed(run, error)
        if isinstance(error, WaitingError):
            return RequeueAfter(error.after)
        return RequeueAfter(paced(kustomization.retry_interval))

    async def _publish(self, kustomization: Kustomization, outcome: Outcome, *, newest: bool = False) -> Kustomization:
        now, key = datetime.now(UTC), (kustomization.namespace, kustomization.name)
        stale = self._parts.serving.stale(key)
        lines = None if stale is None else [one.text for one in stale]
        status = with_stale(kustomization, fold(kustomization, outcome, now), lines, now)
        return await self._parts.status.write(kustomization, status, newest=newest)

    def _interval(self, kustomization: Kustomization) -> float:
        interval = paced(kustomization.interval, self._settings.jitter)
        if self._parts.handover.pending((kustomization.namespace, kustomization.name)):
            return min(interval, self._settings.requeue_dependency)
        return interval


def _refuse_unreadable(kustomization: Kustomization) -> None:
    try:
        check_rules(kustomization.spec.ignore)
    except ValueError as error:
        raise ConfigurationError(f"spec.ignore: {error}", reason="InvalidSelector") from None
