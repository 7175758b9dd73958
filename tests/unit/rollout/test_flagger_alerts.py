"""Alerts to the letter: whom they reach by severity, and what each kind of chat is sent."""

import pytest
from rollout_world import make_plan

from agent.core.rollout.actions import SendAlert
from agent.core.rollout.alerting import Chat, Field, Message, address_of, body, message, receivers
from agent.core.rollout.plan import Alert

SAID = Message(subject="chat.prod", text="Canary failed", severity="error", fields=(Field("Cluster", "gpu-1"),))
SLACK_ATTACHMENT = {
    "color": "danger",
    "author_name": "chat.prod",
    "text": "Canary failed",
    "mrkdwn_in": ["text"],
    "fields": [{"title": "Cluster", "value": "gpu-1", "short": False}],
}


@pytest.mark.parametrize(
    ("severity", "reached"),
    [("info", ["all"]), ("warn", ["all", "warnings"]), ("error", ["all", "warnings", "errors"])],
)
def test_who_is_reached(severity, reached):
    wanted = (("all", "info"), ("warnings", "warn"), ("errors", "error"))
    plan = make_plan(alerts=tuple(Alert(name=name, severity=least, provider=("n", name)) for name, least in wanted))
    assert [alert.name for alert in receivers(plan, severity)] == reached


@pytest.mark.parametrize(
    ("changes", "routing"),
    [
        ({"step_weight": 5, "max_weight": 50}, "Weight step: 5 max: 50"),
        ({"step_weight": 0, "step_weights": (1, 2, 80), "max_weight": 80}, "Weight steps: 1,2,80 max: 80"),
        ({"iterations": 3}, "Blue/Green"),
        ({"iterations": 3, "matched": True}, "A/B Testing"),
    ],
)
def test_the_facts_of_the_target(changes, routing):
    said = message(make_plan(threshold=4, deadline=60, **changes), SendAlert("New", "info", metadata=True), cluster="c")
    assert [(field.name, field.value) for field in said.fields] == [
        ("Cluster", "c"),
        ("Target", "Deployment/chat.prod"),
        ("Failed checks threshold", "4"),
        ("Progress deadline", "60s"),
        ("Traffic routing", routing),
    ]
    assert message(make_plan(), SendAlert("New", "info"), cluster="").fields == ()


@pytest.mark.parametrize(
    ("kind", "color", "bad"),
    [("slack", "good", "danger"), ("discord", "good", "danger"), ("rocket", "#0076D7", "#FF0000")],
)
def test_chats_in_slacks_form(kind, color, bad):
    chat = Chat(kind=kind, address="http://chat/", username="bot", channel="models")
    sent = body(chat, SAID)
    assert sent == {
        "channel": "models",
        "username": "bot",
        "icon_url": "",
        "icon_emoji": ":rocket:",
        "attachments": [{**SLACK_ATTACHMENT, "color": bad}],
    }
    mild = Message(subject="chat.prod", text="New", severity="warn")
    assert body(chat, mild)["attachments"][0]["color"] == color


def test_ms_teams():
    assert body(Chat(kind="msteams", address="http://chat/"), SAID) == {
        "@type": "MessageCard",
        "@context": "http://schema.org/extensions",
        "themeColor": "FF0000",
        "summary": "chat.prod",
        "sections": [
            {
                "activityTitle": "Canary failed",
                "activitySubtitle": "chat.prod",
                "facts": [{"name": "Cluster", "value": "gpu-1"}],
            }
        ],
    }


def test_google_chat():
    (card,) = body(Chat(kind="gchat", address="http://chat/"), SAID)["cards"]
    assert card["header"]["subtitle"] == "chat.prod"
    texts = [section["widgets"][0]["textParagraph"]["text"] for section in card["sections"]]
    grey = "<font color=#848484><strong>{}</strong></font>"
    assert texts == [grey.format("Canary failed"), f"Cluster<br>{grey.format('gpu-1')}"]


def test_an_unknown_chat_is_refused():
    with pytest.raises(ValueError, match="provider irc not supported"):
        body(Chat(kind="irc", address="http://chat/"), SAID)


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://discord.example/api/webhooks/1/a", "https://discord.example/api/webhooks/1/a/slack"),
        ("https://discord.example/api/webhooks/1/a/slack", "https://discord.example/api/webhooks/1/a/slack"),
        ("https://discord.example/a?wait=true", "https://discord.example/a/slack?wait=true"),
    ],
)
def test_discord_is_asked_in_slacks_form(address, wanted):
    assert address_of(Chat(kind="discord", address=address)) == wanted


def test_secrets_are_in_no_text():
    assert "hush" not in repr(Chat(kind="slack", address="https://chat/hush", token="hush"))
