"""The runs of a DataTrigger on the cluster, in its ServiceAccount's name: created once, followed, cleared away."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from agent.adapters.kube.resource import CONFIG_MAPS, PODS, Object, Resource
from agent.api.datatrigger import DataTrigger, TriggerRun
from agent.core.trigger.deciding import run_name
from agent.core.trigger.outcome import Ended, ending, followed, is_overdue, pod_selector, with_config_map
from agent.core.trigger.template import (
    KINDS,
    STOPPED,
    RunKind,
    TemplateError,
    filled,
    is_run_of,
    kind_of,
    parameters,
    run_object,
)
from agent.errors import ConfigurationError

FIELD_MANAGER = "weir"
_GOING_ON = frozenset({"Running", "Replaced"})
_REFUSED = frozenset({400, 422})
_DENIED = "denied the request"
"""What the API server says of a webhook that refuses, whatever status that has chosen."""
_UNHEARD = "failed calling webhook"
_ACCOUNT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class Problem(NamedTuple):
    """Why runs cannot be worked with, as a condition says it."""

    reason: str
    message: str


class Followed(NamedTuple):
    """A run as it was found. `absent`: its object does not exist."""

    run: TriggerRun
    absent: bool = False
    problem: Problem | None = None


class Runs:
    """For all triggers. Methods raise ApiError where the API server gives no useful answer."""

    def __init__(self, client: KubeClient, discovery: Discovery, *, default_account: str) -> None:
        self._client = client
        self._discovery = discovery
        self._default_account = default_account

    def account(self, trigger: DataTrigger) -> str:
        """The ServiceAccount to act as, "" for none. Raises ConfigurationError for what cannot be the name of one."""
        account = trigger.spec.service_account_name or self._default_account
        if account and not _ACCOUNT.fullmatch(account):
            raise ConfigurationError(f"spec.serviceAccountName {account!r} is no name that a ServiceAccount can have")
        return account

    async def follow(self, trigger: DataTrigger, run: TriggerRun, now: datetime) -> Followed:
        """How an active run stands."""
        kind = _kind_named(run.kind)
        try:
            resource = await self._resource(trigger, kind)
            found = await self._as(trigger).get(resource, trigger.namespace, run.name)
        except Forbidden as error:
            return Followed(run, problem=_forbidden(trigger, "get", kind, error, self.account(trigger)))
        except NotFound as error:
            return _missing(run, kind, error, now)
        if not is_run_of(trigger, run, found):
            return Followed(run, problem=_taken(trigger, run))
        if run.state == "Running" and is_overdue(kind, found, run, trigger.timeout, now):
            if problem := await self.clear(trigger, run):
                return Followed(run, problem=problem)
            over = {"finished": now.replace(microsecond=0), "message": f"took longer than {trigger.spec.timeout}"}
            return Followed(replace(run, state="Failed", removed=True, **over))
        return Followed(followed(run, found, await self._ending(trigger, run, kind, found), now))

    async def create(self, trigger: DataTrigger, run: TriggerRun, now: datetime) -> Followed:
        """Create the object of a Pending run; one that is there already is taken for it only if it is this run."""
        kind = kind_of(trigger)
        run = replace(run, kind=kind.kind)  # the template may have been edited while nothing could be made of it
        answer = await self._create(trigger, run, dry_run=False)
        if isinstance(answer, Problem):
            return Followed(run, absent=True, problem=answer)
        if answer is None:
            return await self.follow(trigger, run, now)
        return Followed(followed(run, answer, ending(kind, answer), now))

    async def rehearse(self, trigger: DataTrigger) -> Problem | None:
        """Whether runs could be created: a dry run with made-up data."""
        zero = f"sha256:{'0' * 64}"
        run = TriggerRun(
            name=run_name(trigger, "rehearsal"),
            kind=kind_of(trigger).kind,
            data=zero,
            state="Pending",
            reference="s3://bucket/data",
        )
        answer = await self._create(trigger, run, dry_run=True)
        return answer if isinstance(answer, Problem) else None

    async def clear(self, trigger: DataTrigger, run: TriggerRun) -> Problem | None:
        """Delete the object of a run, and what belongs to it. Somebody else's object of that name stays.

        Pods go with their owner. Where finalizers keep that, they would go on, so the run is stopped as well.
        """
        kind, client, verb = _kind_named(run.kind), self._as(trigger), "delete"
        try:
            resource = await self._resource(trigger, kind)
            found = await client.find(resource, trigger.namespace, run.name)
            if found is not None and is_run_of(trigger, run, found):
                await client.delete(resource, trigger.namespace, run.name, uid=found["metadata"]["uid"])
                stopped = STOPPED.get(kind)
                if stopped and run.state in _GOING_ON and found["metadata"].get("finalizers"):
                    verb = "patch"
                    await client.merge_patch(resource, trigger.namespace, run.name, {"spec": stopped})
        except (NotFound, Conflict):
            return None
        except Forbidden as error:
            return _forbidden(trigger, verb, kind, error, self.account(trigger))
        except ApiError as error:
            if verb != "patch" or error.status not in _REFUSED:
                raise
        return None  # refused: it has ended meanwhile

    async def _create(self, trigger: DataTrigger, run: TriggerRun, *, dry_run: bool) -> Object | Problem | None:
        """The object as created; None where it exists already; or what is in the way."""
        kind = kind_of(trigger)
        try:
            body = run_object(trigger, run)
        except TemplateError as error:
            return Problem("TemplateRefused", str(error))
        try:
            resource = await self._resource(trigger, kind)
            return await self._as(trigger).create(
                resource, trigger.namespace, body, field_manager=FIELD_MANAGER, dry_run=dry_run
            )
        except AlreadyExists:
            return None
        except NotFound:
            return _not_installed(kind, body["apiVersion"])
        except ApiError as error:
            if _UNHEARD in error.message:
                return Problem("WebhookFailed", f"the {kind.kind} could not be checked: {error.message}")
            denied = isinstance(error, Forbidden) and _DENIED in error.message
            if isinstance(error, Forbidden) and not denied:
                return _forbidden(trigger, "create", kind, error, self.account(trigger))
            if error.status not in _REFUSED and not denied:
                raise
            if dry_run and "dry run" in error.message:
                return None  # a webhook that cannot rehearse; the first run will tell
            return Problem("TemplateRefused", f"spec.template was refused by the API server: {error.message}")

    async def _ending(self, trigger: DataTrigger, run: TriggerRun, kind: RunKind, found: Object) -> Ended:
        """With the report, which is only read once the run has ended."""
        ended = ending(kind, found)
        if ended.state is None or ended.state == "Lost":
            return ended
        client = self._as(trigger)
        try:
            if trigger.spec.report_config_map:
                name = filled(trigger.spec.report_config_map, parameters(run))
                config_map = await client.find(CONFIG_MAPS, trigger.namespace, name)
                return with_config_map(ended, name, (config_map or {}).get("data") if config_map else None)
            if selector := pod_selector(kind, found):
                pods = await client.list(PODS, trigger.namespace, label_selector=selector)
                return ending(kind, found, pods.items)
        except Forbidden as error:
            return ended._replace(message="; ".join(filter(None, (ended.message, f"no report: {error.message}"))))
        return ended

    def _as(self, trigger: DataTrigger) -> KubeClient:
        account = self.account(trigger)
        return self._client.as_service_account(trigger.namespace, account) if account else self._client

    async def _resource(self, trigger: DataTrigger, kind: RunKind) -> Resource:
        """In the version of the template, or the usual one for runs of an earlier template. Raises NoMatch."""
        template = trigger.spec.template
        same = template.get("kind") == kind.kind
        version = str(template.get("apiVersion") or "") if same else ""
        return await self._discovery.resource(version or kind.api_version, kind.kind)


def _kind_named(name: str) -> RunKind:
    return next(kind for kind in KINDS if kind.kind == name)


def _missing(run: TriggerRun, kind: RunKind, error: NotFound, now: datetime) -> Followed:
    """A run that is not there. That its whole kind is not says nothing of it: the API server may just be starting."""
    if run.state == "Pending":
        return Followed(run, absent=True)
    if run.name not in error.message:
        return Followed(run, problem=_not_installed(kind, kind.api_version))
    lost = replace(run, state="Lost", finished=now.replace(microsecond=0), message="deleted before its end was seen")
    return Followed(lost, absent=True)


def _not_installed(kind: RunKind, version: str) -> Problem:
    return Problem(
        "KindNotInstalled",
        f"the API server has no {kind.kind} in {version}: install {kind.project}, or use another kind of run",
    )


def _forbidden(trigger: DataTrigger, verb: str, kind: RunKind, error: Forbidden, account: str) -> Problem:
    if f"cannot {verb}" not in error.message:
        return Problem("Forbidden", error.message)  # a quota or a webhook, which says itself what is the matter
    who = f"ServiceAccount {trigger.namespace}/{account}" if account else "the agent"
    remedy = f"grant {who} the right to {verb} {kind.kind}s ({kind.group}) in namespace {trigger.namespace}"
    return Problem("Forbidden", f"{error.message}; {remedy}")


def _taken(trigger: DataTrigger, run: TriggerRun) -> Problem:
    return Problem(
        "NameTaken",
        f"{run.kind} {trigger.namespace}/{run.name} exists, but this trigger has not made it for {run.data[:100]}: "
        "delete it, or rename the trigger",
    )


def unsettled(runs: Iterable[TriggerRun]) -> list[TriggerRun]:
    """The runs that go on, or are about to."""
    return [run for run in runs if run.state in {"Pending", "Running"}]
