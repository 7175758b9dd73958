"""Alerts that arrive: providers and their Secrets from the API server, chats and a proxy on loopback."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, NAME, Rollouts
from loopback import listening

from agent.adapters.kube.client import KubeClient
from agent.controllers.canary import CanarySettings
from agent.core.rollout.alerting import Chat
from testbed.kube import Object


@dataclass
class ChatServer:
    """Takes messages, or refuses them and repeats the secret path."""

    url: str = ""
    refuses: bool = False
    messages: list[tuple[str, str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "")
        self.messages.append((request.path, token, await request.json()))
        return web.Response(status=500, text=f"no: {self.url}{request.path}") if self.refuses else web.Response()

    def texts(self, path: str) -> list[str]:
        return [sent["attachments"][0]["text"] for where, _, sent in self.messages if where == path]


@asynccontextmanager
async def chat_server() -> AsyncIterator[ChatServer]:
    server = ChatServer()
    async with listening(server.take) as server.url:
        yield server


def provider(rollouts: Rollouts, name: str, **spec: Any) -> Object:
    return {
        "apiVersion": FLAGGER,
        "kind": "AlertProvider",
        "metadata": {"name": name, "namespace": rollouts.namespace},
        "spec": {"type": "slack", **spec},
    }


def quick(rollouts: Rollouts, **analysis: Any) -> Object:
    made = rollouts.canary(analysis={"stepWeight": None, "maxWeight": None, "iterations": 1, **analysis})
    made["spec"]["provider"] = "kubernetes"
    made["spec"]["service"] = {"port": 80}
    return made


NEW = "New revision detected, progressing canary analysis."
DONE = "Canary analysis completed successfully, promotion finished."


async def test_each_provider_gets_what_its_severity_asks_for(kube: KubeClient, rollouts: Rollouts) -> None:
    async with chat_server() as chat:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "chat", "namespace": rollouts.namespace},
            "data": {
                "address": base64.b64encode(f"{chat.url}/secret".encode()).decode(),
                "token": base64.b64encode(b"t0ken").decode(),
            },
        }
        alerts = [
            {"name": "all", "severity": "info", "providerRef": {"name": "plain"}},
            {"name": "unset", "severity": "", "providerRef": {"name": "secret"}},
            {"name": "errors", "severity": "error", "providerRef": {"name": "errors"}},
            {"name": "nobody", "severity": "info", "providerRef": {"name": "missing"}},
        ]
        async with canary_agent(kube, rollouts.namespace):
            await rollouts.apply(
                secret,
                provider(rollouts, "plain", address=f"{chat.url}/plain", channel="models", username="weir"),
                provider(rollouts, "secret", secretRef={"name": "chat"}),
                provider(rollouts, "errors", address=f"{chat.url}/errors"),
                rollouts.target(rollouts.sleeper("1")),
                quick(rollouts, alerts=alerts),
            )
            await rollouts.phase("Initialized")
            await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
            await rollouts.phase("Succeeded")
            await eventually(lambda: DONE in chat.texts("/secret"))
            broken = {"name": "gate", "type": "rollout", "url": "http://127.0.0.1:9/", "timeout": "1s"}
            await rollouts.apply(quick(rollouts, alerts=alerts, webhooks=[broken], threshold=1))
            await rollouts.apply(rollouts.target(rollouts.sleeper("3"), replicas=None))
            await rollouts.phase("Failed")
            await eventually(lambda: len(chat.texts("/errors")) == 1)
        first, last = "New Deployment detected, initialization completed.", "Failed checks threshold reached 1"
        assert chat.texts("/plain") == chat.texts("/secret") == [first, NEW, DONE, NEW, last]
        assert chat.texts("/errors") == [last]
        plain = next(sent for where, _, sent in chat.messages if where == "/plain")
        assert (plain["channel"], plain["username"]) == ("models", "weir")
        fields = {field["title"]: field["value"] for field in plain["attachments"][0]["fields"]}
        assert fields["Target"] == f"Deployment/{NAME}.{rollouts.namespace}"
        assert {token for where, token, _ in chat.messages if where == "/secret"} == {"Bearer t0ken"}


@pytest.mark.parametrize("mute", [True, False])
async def test_a_muted_gate_tells_nobody(kube: KubeClient, rollouts: Rollouts, mute: bool) -> None:
    gate = {"name": "gate", "type": "confirm-rollout", "url": "http://127.0.0.1:9/", "timeout": "1s", "muteAlert": mute}
    alerts = [{"name": "all", "severity": "info", "providerRef": {"name": "plain"}}]
    first, waiting = "New Deployment detected, initialization completed.", "Canary is waiting for approval."
    async with chat_server() as chat, canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            provider(rollouts, "plain", address=f"{chat.url}/plain"),
            rollouts.target(rollouts.sleeper("1"), replicas=None),
            quick(rollouts, alerts=alerts, webhooks=[gate]),
        )
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("Waiting")
        # open, the gate lets a run begin, of which everybody is told
        await rollouts.apply(quick(rollouts, alerts=alerts))
        await eventually(lambda: DONE in chat.texts("/plain"))
    assert chat.texts("/plain") == [first, *(() if mute else (waiting,)), NEW, DONE]


async def test_without_providers_the_chat_of_the_command_line_is_told(
    kube: KubeClient, rollouts: Rollouts, capfd: pytest.CaptureFixture[str]
) -> None:
    async with chat_server() as chat:
        settings = CanarySettings(
            minimum_interval=0.3,
            cluster_name="gpu-1",
            chat=Chat(kind="slack", address=f"{chat.url}/hush", channel="models"),
        )
        async with canary_agent(kube, rollouts.namespace, settings=settings):
            await rollouts.apply(rollouts.target(rollouts.sleeper("1")), quick(rollouts))
            await rollouts.phase("Initialized")
            await eventually(lambda: len(chat.messages) == 1)
            chat.refuses = True
            await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
            await rollouts.phase("Succeeded")
            await eventually(lambda: DONE in chat.texts("/hush"))
        fields = chat.messages[0][2]["attachments"][0]["fields"]
        assert fields[0] == {"title": "Cluster", "value": "gpu-1", "short": False}
        logged = capfd.readouterr()
        assert "hush" not in logged.out + logged.err


async def test_a_proxy_carries_the_message(kube: KubeClient, rollouts: Rollouts) -> None:
    async with chat_server() as proxy:
        alerts = [{"name": "all", "severity": "info", "providerRef": {"name": "far"}}]
        async with canary_agent(kube, rollouts.namespace):
            await rollouts.apply(
                provider(rollouts, "far", address="http://chat.invalid/hook", proxy=proxy.url),
                rollouts.target(rollouts.sleeper("1")),
                quick(rollouts, alerts=alerts),
            )
            await rollouts.phase("Initialized")
            await eventually(lambda: len(proxy.messages) == 1)
        assert proxy.messages[0][0] == "/hook"
