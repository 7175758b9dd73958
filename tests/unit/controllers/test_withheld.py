"""What Git asks for and a primary does not serve, as it is shown."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from agent.controllers.canary.observing import World
from agent.controllers.canary.quarantining import revision_of, withheld
from agent.core.rollout.snapshot import Stage
from agent.core.rollout.status import Phase, Status

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def deployment(name: str, commit: str) -> dict[str, Any]:
    container = {
        "name": "server",
        "image": "vllm/vllm-openai:v0.9",
        "args": ["--model=acme/chat", f"--revision={commit}"],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "models"},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [container]}}},
    }


WORLD = World(stage=Stage.ROUTED, target=deployment("chat", "2" * 40), primary=deployment("chat-primary", "1" * 40))


@pytest.mark.parametrize(
    ("message", "promoted", "shown"),
    [
        ("Deployment is the promoted revision in other words.", revision_of(WORLD), 0),
        ("Deployment is the promoted revision in other words.", "v2:another", 1),
        ("", revision_of(WORLD), 1),
    ],
)
def test_other_words_are_not_withheld_even_when_nobody_knows_any_more_what_they_mean(
    message: str, promoted: str, shown: int
) -> None:
    """The log of changes keeps the last ones; the status says for good what was found."""
    status = Status().synced(Phase.SUCCEEDED, kind="Deployment", now=NOW, applied=promoted, tracked={}, message=message)
    status = replace(status, last_promoted_spec=promoted)
    found = withheld(WORLD, status, None)
    assert found is not None
    assert [one.slot for one in found] == ["container[server].model"] * shown
