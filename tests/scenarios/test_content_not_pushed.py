"""Pointers in Git whose content nobody pushed; and entries of policies that cannot be meant so."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from testbed.git import GitRepository
from testbed.gitlfs import GitLfs
from testbed.kube import ApiError
from tests.scenarios.conftest import RunningAgent, Story
from tests.scenarios.test_change_policy import policy

LOST = "b" * 64


def pointer(oid: str) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n"


async def test_a_pointer_without_content_is_a_warning(
    story: Story, weir: RunningAgent, lfs: GitLfs, tmp_path: Path
) -> None:
    pushed = GitRepository(tmp_path / "pushed.git")
    await lfs.push("team/story", {"more.bin": b"of the story"}, pushed)
    held = hashlib.sha256(b"of the story").hexdigest()
    metadata, data = {"name": "lfs", "namespace": story.namespace}, {"token": lfs.token("team/story", "read")}
    await story.admin.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
    entry = {"scheme": "git-lfs", "endpoint": f"{lfs.remote('team/story')}.git/info/lfs", "secretRef": {"name": "lfs"}}
    await policy(story, resolution={"registries": [entry]})
    story.git.commit({"weights.bin": pointer("c" * 64)})
    await story.source()
    await story.kustomization()
    await story.ready()
    story.git.commit({"weights.bin": pointer(LOST), "more.bin": pushed.read("more.bin")})
    await story.pull("lost")
    both = {"DataChanged", "DataAdded"}
    told = await story.told("repo", lambda told: both <= {event["reason"] for event in told})
    by_reason = {event["reason"]: event for event in told}
    changed, added = by_reason["DataChanged"], by_reason["DataAdded"]
    assert (changed["type"], added["type"]) == ("Warning", "Normal")
    assert "git-lfs:sha256:bbb" in changed["message"]
    assert "its content is not where it should be" in changed["message"]
    assert "not where it should be" not in added["message"]
    changes = await weir.get(f"/api/v1/changes?source=GitRepository/{story.namespace}/repo")
    found = [item["record"]["new"] for item in changes["items"]]
    identities = {ref["digest"]["value"]: ref["identity"] for ref in found}
    assert (identities[LOST].get("unresolved"), identities[held].get("unresolved")) == ("not-found", None)
    assert identities[held]["resolvedAt"]  # the server was asked, and took the token
    assert {tuple(item["record"]["impact"]["kustomizations"]) for item in changes["items"]} == {
        (f"{story.namespace}/app",)
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"scheme": "oci", "provider": "aws"}, "host is required"),
        ({"scheme": "oci", "provider": "aws", "host": "h", "endpoint": "http://x"}, "cannot be set"),
        ({"scheme": "s3", "provider": "aws", "secretRef": {"name": "s"}}, "cannot be set"),
        ({"scheme": "s3", "provider": "gcp"}, "gcp for gs and oci"),
        ({"scheme": "s3", "serviceAccountName": "loader"}, "with a provider only"),
        ({"scheme": "dvc"}, "remote is required"),
        ({"scheme": "s3", "remote": "s3://bucket"}, "for no other"),
        ({"scheme": "delta", "remote": "s3://b", "endpoint": "https://sharing.example"}, "a remote, .* or an endpoint"),
        ({"scheme": "dvc", "remote": "ssh://host/x"}, "remote"),
        ({"scheme": "http", "secretRef": {"name": "s"}}, "who gets the credentials"),
        ({"scheme": "git-lfs", "secretRef": {"name": "s"}}, "endpoint is required for git-lfs"),
    ],
)
async def test_entries_that_the_cluster_refuses(story: Story, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError, match=said):
        await policy(story, resolution={"registries": [entry]})
