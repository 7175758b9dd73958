"""Where alerts of a rollout go: to the AlertProviders of its Canary, or to the chat that the command line names."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

import msgspec

from agent.adapters.chats import Chats
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.resource import SECRETS
from agent.api.alertprovider import AlertProvider
from agent.controllers.canary.kinds import ALERT_PROVIDERS
from agent.controllers.canary.settings import CanarySettings
from agent.core.rollout.actions import SendAlert
from agent.core.rollout.alerting import CHANNEL, USERNAME, Chat, Message, message, receivers
from agent.core.rollout.plan import Alert, Plan
from agent.telemetry.logging import named, object_context

_BACKLOG = 1000
_DRAIN = 2.0
"""Seconds that waiting alerts have when everything ends."""


class AlertSink(Protocol):
    """Delivers a message to the alert providers of a Canary whose severity allows it."""

    def send(self, plan: Plan, alert: SendAlert) -> None:
        """Never raises, and never waits, for what a chat system does."""
        ...


class SilentAlerts:
    """Nobody is told: the same texts are in the events and in the log."""

    def send(self, plan: Plan, alert: SendAlert) -> None:
        """Nothing."""


class ChatAlerts:
    """Delivers in order, beside the passes, once. What cannot be delivered is logged and forgotten.

    `async with ChatAlerts(...) as alerts:`.
    """

    def __init__(self, client: KubeClient, settings: CanarySettings) -> None:
        self._client = client
        self._settings = settings
        self._chats = Chats()
        self._waiting: asyncio.Queue[tuple[Plan, SendAlert]] = asyncio.Queue(_BACKLOG)
        self._delivering: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._chats.__aenter__()
        self._delivering = asyncio.create_task(self._deliver(), name="canary alerts")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._delivering is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN):
                    await self._waiting.join()
            self._delivering.cancel()
            await asyncio.wait({self._delivering})
        await self._chats.__aexit__(kind, error, traceback)

    def send(self, plan: Plan, alert: SendAlert) -> None:
        """Deliver it later; if far too many wait already, it is dropped and logged."""
        try:
            self._waiting.put_nowait((plan, alert))
        except asyncio.QueueFull:
            _complain(plan, "alert dropped: too many are waiting")

    async def _deliver(self) -> None:
        while True:
            plan, alert = await self._waiting.get()
            try:
                await self._tell(plan, message(plan, alert, cluster=self._settings.cluster_name))
            finally:
                self._waiting.task_done()

    async def _tell(self, plan: Plan, said: Message) -> None:
        chat = self._settings.chat
        if not plan.alerts:
            if chat is not None:
                await self._post(plan, chat, said, "alert can't be sent")
            return
        for alert in receivers(plan, said.severity):
            namespace, name = alert.provider
            who = f"alert provider {name}.{namespace}"
            try:
                found = await self._chat(plan, alert)
            except (ApiError, msgspec.ValidationError, _UnusableError) as error:
                _complain(plan, f"{who} {error}")
                continue
            if found.address:
                await self._post(plan, found, said, f"{who} send error")

    async def _post(self, plan: Plan, chat: Chat, said: Message, what: str) -> None:
        refusal = await self._chats.post(chat, said)
        if refusal:
            _complain(plan, f"{what}: {refusal}")

    async def _chat(self, plan: Plan, alert: Alert) -> Chat:
        """Raises ApiError, msgspec.ValidationError and _UnusableError."""
        namespace, name = alert.provider
        if self._settings.no_cross_namespace_refs and namespace != plan.namespace:
            raise _UnusableError("error: references to other namespaces are not allowed")
        raw = await self._client.get(ALERT_PROVIDERS, namespace, name)
        spec = AlertProvider.from_object(raw).spec
        address, token = spec.address or "", ""
        if spec.secret_ref is not None:
            data = await self._secret(namespace, spec.secret_ref.name)
            if "address" not in data:
                raise _UnusableError(f"secret {spec.secret_ref.name} does not contain an address")
            address, token = data["address"], data.get("token", "")
        return Chat(
            kind=spec.type,
            address=address,
            token=token,
            proxy=spec.proxy or "",
            username=spec.username or USERNAME,
            channel=spec.channel or CHANNEL,
        )

    async def _secret(self, namespace: str, name: str) -> Mapping[str, str]:
        secret = await self._client.get(SECRETS, namespace, name)
        try:
            return {key: base64.b64decode(value).decode().strip() for key, value in (secret.get("data") or {}).items()}
        except (binascii.Error, UnicodeDecodeError):
            raise _UnusableError(f"secret {name} error: a value is not text") from None


class _UnusableError(Exception):
    """The provider cannot be used; the text says why and holds nothing of its Secret."""


def _complain(plan: Plan, text: str) -> None:
    log = named("canary").bind(**object_context("Canary", "flagger.app", plan.namespace, plan.name))
    log.error(text)
