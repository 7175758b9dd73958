"""A connection as the user, and what of a rollout is read over it."""

from __future__ import annotations

import argparse
import asyncio
import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.adapters.agentapi import AddressDoor, AgentApi, NoAnswerError, ServiceDoor
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import load
from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.resource import CANARIES, DAEMON_SETS, DEPLOYMENTS, EVENTS, Object
from agent.api.canary import Canary
from agent.core.console.facts import Rollout, Run, rollout
from agent.core.console.screen import Said
from agent.core.rollout.status import Status, decode_status
from agent.errors import ConfigurationError, OperationError

EVENTS_SHOWN = 8


class NoSuchCanaryError(OperationError):
    """There is no Canary of that name."""

    default_reason = "NotFound"


@dataclass(frozen=True, slots=True)
class Session:
    """Who asks, whom, and in which namespace."""

    client: KubeClient
    api: AgentApi
    namespace: str

    async def canary(self, namespace: str, name: str) -> Object:
        """The Canary as stored. Raises NoSuchCanaryError and ApiError."""
        found = await self.client.find(CANARIES, namespace, name)
        if found is None:
            raise NoSuchCanaryError(f"there is no Canary {namespace}/{name}: see weir rollout status -A")
        return found

    async def rollout(self, namespace: str, name: str, *, judged: bool = True) -> Rollout:
        """All that is known of one rollout. The agent's part is left out if it is not `judged` or does not answer."""
        stored = await self.canary(namespace, name)
        canary = decoded(stored)
        target, primary, (run, unasked) = await asyncio.gather(
            self._workload(canary, canary.target_name),
            self._workload(canary, canary.primary_name),
            self._run(namespace, name) if judged else _not_asked(),
        )
        return rollout(canary, status_of(stored), target, primary, run, unasked=unasked)

    async def rollouts(self, namespace: str | None) -> list[Rollout]:
        """All rollouts of a namespace, or of all, from the Canaries alone."""
        page = await self.client.list(CANARIES, namespace)
        return [
            rollout(decoded(stored), status_of(stored), None, None, None, unasked="not asked") for stored in page.items
        ]

    async def runs(self, namespace: str, name: str) -> list[Run]:
        """Finished runs, the newest first. Raises NoAnswerError."""
        return _runs(await self.api.list("runs", namespace=namespace, name=name))

    async def events(self, namespace: str, name: str) -> list[Said]:
        """The last events about the Canary, the oldest first; none if they may not be read."""
        try:
            page = await self.client.list(
                EVENTS, namespace, field_selector=f"involvedObject.kind=Canary,involvedObject.name={name}"
            )
        except ApiError:
            return []
        said = [_said(event) for event in page.items]
        return sorted(said, key=lambda event: event.at)[-EVENTS_SHOWN:]

    async def user(self) -> str:
        """Whom the API server takes us for; the system's user name where it does not say."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = await self.client.raw(
                "POST",
                "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                body=msgspec.json.encode(body),
                headers=(("Content-Type", "application/json"),),
            )
            return str(msgspec.json.decode(answer)["status"]["userInfo"]["username"])
        except (ApiError, KeyError, TypeError, msgspec.DecodeError):
            return _system_user()

    async def _workload(self, canary: Canary, name: str) -> Object | None:
        resource = next((one for one in (DEPLOYMENTS, DAEMON_SETS) if one.kind == canary.spec.target_ref.kind), None)
        if resource is None:
            return None
        try:
            return await self.client.find(resource, canary.namespace, name)
        except ApiError:
            return None  # who may see the Canary need not be allowed to see its pods' owner

    async def _run(self, namespace: str, name: str) -> tuple[Run | None, str]:
        try:
            runs = _runs(await self.api.list("rollouts", namespace=namespace, name=name))
        except NoAnswerError as error:
            return None, error.message
        return (runs[0], "") if runs else (None, "the agent does not know this Canary yet")


@asynccontextmanager
async def connected(chosen: argparse.Namespace) -> AsyncIterator[Session]:
    """The session that the arguments ask for. Raises ConfigurationError."""
    cluster = await load(chosen.kubeconfig, chosen.context)
    async with KubeClient(cluster) as client:
        door = AddressDoor(chosen.server) if chosen.server else ServiceDoor(client, chosen.agent)
        yield Session(client, AgentApi(door), chosen.namespace or cluster.namespace)


def named(session: Session, text: str, namespace: str) -> tuple[str, str]:
    """Namespace and name in `NAME` or `NAMESPACE/NAME`. Raises ConfigurationError where they contradict -n."""
    first, slash, rest = text.partition("/")
    if not slash:
        return session.namespace, text
    if not first or not rest or "/" in rest:
        raise ConfigurationError(f"{text!r} is not a name: write NAME or NAMESPACE/NAME")
    if namespace and namespace != first:
        raise ConfigurationError(f"{text!r} is in another namespace than -n {namespace}")
    return first, rest


def status_of(stored: Object) -> Status:
    """The Canary's status. Raises ConfigurationError for one that nobody of us wrote."""
    try:
        return decode_status(stored.get("status"))
    except msgspec.ValidationError as error:
        name = stored["metadata"]["name"]
        raise ConfigurationError(f"the status of canary {name} cannot be read: {error}") from None


async def _not_asked() -> tuple[Run | None, str]:
    return None, "not asked"


def decoded(stored: Object) -> Canary:
    """The Canary. Raises ConfigurationError for one that is wrong."""
    try:
        return Canary.from_object(stored)
    except msgspec.ValidationError as error:
        name = stored["metadata"]["name"]
        raise ConfigurationError(f"canary {name} cannot be read: {error}") from None


def _runs(items: list[dict[str, Any]]) -> list[Run]:
    try:
        return msgspec.convert(items, list[Run])
    except msgspec.ValidationError as error:
        raise NoAnswerError(f"the agent is of another version: {error}") from None


def _said(event: Object) -> Said:
    when = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    at = datetime.fromisoformat(str(when)) if when else datetime.fromtimestamp(0, UTC)
    count = int(event.get("count") or 1)
    text = f"{event.get('message', '')}{f' (x{count})' if count > 1 else ''}"
    return Said(at, text, event.get("type") == "Warning")


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
