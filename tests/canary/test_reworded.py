"""A commit that says the same in other words, or a new revision of which only the card differs, replaces no pod."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientSession, web
from canary_agent import eventually
from canary_cluster import CRDS, Rollouts
from canary_gitops import KUSTOMIZATION, REPOSITORY, whole_agent
from loopback import listening

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer
from testbed.kube import Object, condition

FIRST, CARD, OTHER = "a" * 40, "b" * 40, "c" * 40
WEIGHTS = {FIRST: "1" * 64, CARD: "1" * 64, OTHER: "2" * 64}
"""What the hub holds: the second commit touches nothing but the card."""
SLOT = "container[server].model"
SAME = f"is the promoted revision in other words, no analysis is needed: {SLOT}"


@pytest.fixture
async def hub() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        what, commit = request.path.removeprefix("/api/models/org/m/").split("/")
        if what == "revision":
            return web.json_response({"sha": commit, "gated": False})
        card = {"type": "file", "path": "README.md", "oid": commit, "size": 10}
        weights = {
            "type": "file",
            "path": "w.safetensors",
            "oid": "3" * 40,
            "size": 30,
            "lfs": {"oid": WEIGHTS[commit]},
        }
        return web.json_response([card, weights])

    async with listening(answer) as address:
        yield address


class Story:
    def __init__(self, rollouts: Rollouts, hub: str) -> None:
        self.rollouts = rollouts
        self.policy = {
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "ChangePolicy",
            "metadata": {"name": "hub", "namespace": rollouts.namespace},
            "spec": {"resolution": {"interval": "1h", "registries": [{"scheme": "hf", "endpoint": hub}]}},
        }

    def files(self, model: str, revision: str) -> dict[str, str]:
        container = {**self.rollouts.sleeper("1"), "name": "server", "args": ["--model", model, "--revision", revision]}
        canary = self.rollouts.canary(
            provider="kubernetes", analysis={"stepWeight": None, "maxWeight": None, "iterations": 1}
        )
        return {"target.yaml": yaml.safe_dump(self.rollouts.target(container)), "canary.yaml": yaml.safe_dump(canary)}

    async def applied(self, commit: str) -> None:
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": commit}}}
        await self.rollouts.admin.patch(*REPOSITORY, self.rollouts.namespace, "app", patch)

        def is_applied(found: Object | None) -> bool:
            applied = (found or {}).get("status", {}).get("lastAppliedRevision", "")
            return condition(found, "Ready") == "True" and commit in applied

        await self.rollouts.admin.wait_for(*KUSTOMIZATION, self.rollouts.namespace, "app", is_applied)

    async def promoted(self, before: str) -> str:
        """Wait until another revision than *before* counts as the promoted one; its hash."""

        async def is_promoted() -> bool:
            status = await self.rollouts.status()
            here = status["lastAppliedSpec"], status["lastPromotedSpec"], status["phase"]
            return here[0] == here[1] != before and here[2] in {"Initialized", "Succeeded"}

        await eventually(is_promoted)
        return str((await self.rollouts.status())["lastPromotedSpec"])

    async def pods(self, selector: str = "") -> set[str]:
        found = await self.rollouts.admin.list("v1", "Pod", self.rollouts.namespace, selector)
        return {pod["metadata"]["uid"] for pod in found}

    async def serving(self) -> list[str]:
        primary = await self.rollouts.get("Deployment", "chat-primary")
        assert primary is not None
        return list(primary["spec"]["template"]["spec"]["containers"][0]["args"])


async def test_other_words_for_the_same_content_replace_no_pod(
    control_plane: ControlPlane, rollouts: Rollouts, hub: str, tmp_path: Path
) -> None:
    story = Story(rollouts, hub)
    await rollouts.admin.apply_files([*sorted(CRDS.glob("*toolkit*.yaml")), CRDS / "weir.dev_changepolicies.yaml"])
    async with GitHTTPServer(tmp_path / "git") as server:
        git = server.repository(rollouts.namespace)
        first = git.commit(story.files("org/m", FIRST))
        metadata = {"name": "app", "namespace": rollouts.namespace}
        source = {"url": server.url(rollouts.namespace), "interval": "10m", "ref": {"branch": "main"}}
        spec = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "app"}}
        await rollouts.apply(
            story.policy,
            {"apiVersion": REPOSITORY[0], "kind": REPOSITORY[1], "metadata": metadata, "spec": source},
            {"apiVersion": KUSTOMIZATION[0], "kind": KUSTOMIZATION[1], "metadata": metadata, "spec": spec},
        )
        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir") as api, ClientSession() as client:
            await story.applied(first)
            await rollouts.phase("Initialized")
            start = await story.promoted(before="")
            pods, primary = await story.pods(), await story.pods("app=chat-primary")

            await story.applied(git.commit(story.files("org/m", CARD)))
            second = await story.promoted(before=start)
            await eventually(lambda: rollouts.told(f"Target chat.{rollouts.namespace} {SAME}"))
            async with client.get(f"{api}/api/v1/changes?namespace={rollouts.namespace}&name=chat") as answer:
                told = [one["record"] for one in (await answer.json())["items"]]
            assert [(one["op"], one["action"]) for one in told if one["slot"] == SLOT] == [
                ("metadata-only", "none"),
                ("added", "apply"),
            ]
            await eventually(
                lambda: _withholds_nothing(client, f"{api}/api/v1/rollouts/{rollouts.namespace}/chat", second)
            )

        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"):
            # the words are still others than those of the primary, and the next process knows what they mean
            await story.applied(git.commit(story.files("https://huggingface.co/org/m", CARD)))
            await story.promoted(before=second)
            assert await story.pods() <= pods, "nothing was started"
            assert await story.pods("app=chat-primary") == primary
            assert await story.serving() == ["--model", "org/m", "--revision", FIRST]

            await story.applied(git.commit(story.files("org/m", OTHER)))
            await eventually(lambda: _serves(story, OTHER))
            await rollouts.phase("Succeeded")
    starts = [text for text in await rollouts.events() if text.startswith("New revision detected!")]
    assert len(starts) == 1


async def _serves(story: Story, revision: str) -> bool:
    return await story.serving() == ["--model", "org/m", "--revision", revision]


async def _withholds_nothing(client: ClientSession, address: str, applied: str) -> bool:
    async with client.get(address) as answer:
        found = await answer.json()
    return bool(found["applied"] == applied and found.get("withheld", []) == [])
