"""Alerts as values: who gets one, and what is posted to each kind of chat (Flagger's fields and forms)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.api.analysis import Strategy
from agent.core.rollout.actions import SendAlert, Severity
from agent.core.rollout.plan import Alert, Plan

USERNAME = "flagger"
CHANNEL = "general"
_RANK: Mapping[str, int] = {"info": 0, "warn": 1, "error": 2}
_GREY = "<font color=#848484><strong>{}</strong></font>"


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """A chat to post to. `address` and `token` are secrets; `proxy` is the URL of an HTTP proxy, or empty."""

    kind: str
    address: str
    token: str = ""
    proxy: str = ""
    username: str = USERNAME
    channel: str = CHANNEL

    def __repr__(self) -> str:
        return f"Chat(kind={self.kind!r}, channel={self.channel!r})"


class Field(msgspec.Struct, frozen=True):
    """A line below the message."""

    name: str
    value: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about a Canary. `subject` is `<name>.<namespace>`."""

    subject: str
    text: str
    severity: Severity
    fields: tuple[Field, ...] = ()


def receivers(plan: Plan, severity: Severity) -> tuple[Alert, ...]:
    """The alerts of the plan that are of interest for: those asked for at this severity or a lower one."""
    return tuple(alert for alert in plan.alerts if _RANK[severity] >= _RANK.get(alert.severity, 0))


def message(plan: Plan, alert: SendAlert, *, cluster: str) -> Message:
    """The message of an alert. `cluster` names the cluster, or is empty."""
    fields = [Field("Cluster", cluster)] if cluster else []
    if alert.metadata:
        fields += [
            Field("Target", f"{plan.target_kind}/{plan.full_target}"),
            Field("Failed checks threshold", str(plan.threshold)),
            Field("Progress deadline", f"{plan.deadline}s"),
            *(Field("Traffic routing", text) for text in [_routing(plan)] if text),
        ]
    return Message(subject=plan.full_name, text=alert.text, severity=alert.severity, fields=tuple(fields))


def body(chat: Chat, said: Message) -> dict[str, Any]:
    """The JSON to post. Raises ValueError for a kind of chat that nobody knows."""
    match chat.kind:
        case "slack" | "discord" | "rocket":
            return _slack(chat, said)
        case "msteams":
            return _teams(said)
        case "gchat":
            return _google(said)
        case _:
            raise ValueError(f"provider {chat.kind} not supported")


def address_of(chat: Chat) -> str:
    """Where to post: Discord takes messages in Slack's form under a path of its own."""
    if chat.kind != "discord" or chat.address.endswith("/slack"):
        return chat.address
    path, mark, query = chat.address.partition("?")
    return f"{path.rstrip('/')}/slack{mark}{query}"


def _routing(plan: Plan) -> str:
    if plan.strategy is Strategy.AB_TESTING:
        return "A/B Testing"
    if plan.strategy is Strategy.BLUE_GREEN:
        return "Blue/Green"
    if plan.step_weight > 0:
        return f"Weight step: {plan.step_weight} max: {plan.max_weight}"
    if plan.step_weights:
        return f"Weight steps: {','.join(map(str, plan.step_weights))} max: {plan.max_weight}"
    return ""


def _slack(chat: Chat, said: Message) -> dict[str, Any]:
    usual, bad = ("#0076D7", "#FF0000") if chat.kind == "rocket" else ("good", "danger")
    attachment = {
        "color": bad if said.severity == "error" else usual,
        "author_name": said.subject,
        "text": said.text,
        "mrkdwn_in": ["text"],
        "fields": [{"title": field.name, "value": field.value, "short": False} for field in said.fields],
    }
    return {
        "channel": chat.channel,
        "username": chat.username,
        "icon_url": "",
        "icon_emoji": ":rocket:",
        "attachments": [attachment],
    }


def _teams(said: Message) -> dict[str, Any]:
    section = {
        "activityTitle": said.text,
        "activitySubtitle": said.subject,
        "facts": [{"name": field.name, "value": field.value} for field in said.fields],
    }
    return {
        "@type": "MessageCard",
        "@context": "http://schema.org/extensions",
        "themeColor": "FF0000" if said.severity == "error" else "0076D7",
        "summary": said.subject,
        "sections": [section],
    }


def _google(said: Message) -> dict[str, Any]:
    texts = [_GREY.format(said.text), *(f"{field.name}<br>{_GREY.format(field.value)}" for field in said.fields)]
    header = {"title": "Flagger", "subtitle": said.subject, "imageUrl": "https://flagger.app/favicon.png"}
    sections = [{"widgets": [{"textParagraph": {"text": text}}]} for text in texts]
    return {"cards": [{"header": header, "sections": sections}]}
