"""Flux reference 2.1: the fields of a GitRepository. References, credentials and archives have stories of their own."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.kube import ApiError, condition
from tests.scenarios.conformance.flux_source import downloaded, files, looked, members, requests, stored
from tests.scenarios.conftest import REPO, Story, conditions, message

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {greeting: hi}\n"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"url": "git@git.example.org:models.git"}, "spec.url"),
        ({"url": "ftp://git.example.org/models.git"}, "spec.url"),
        ({"interval": "often"}, "spec.interval"),
        ({"timeout": "1h"}, "spec.timeout"),
        ({"provider": "gitlab"}, "spec.provider"),
        ({"serviceAccountName": "puller"}, "serviceAccountName can only be set when provider is"),
        ({"serviceAccountName": "puller", "provider": "github"}, "serviceAccountName can only be set when provider is"),
        ({"verify": {"mode": "Branch", "secretRef": {"name": "keys"}}}, "spec.verify.mode"),
        ({"verify": {"mode": "HEAD"}}, "spec.verify.secretRef"),
        ({"include": [{"fromPath": "a"}]}, "spec.include[0].repository"),
    ],
)
async def test_what_the_definition_refuses(story: Story, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as refused:
        await story.source(**spec)
    assert words in str(refused.value)


async def test_the_definition_shows_what_flux_shows(story: Story) -> None:
    name = "gitrepositories.source.toolkit.fluxcd.io"
    definition = await story.admin.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name)
    names = definition["spec"]["names"]
    assert (names["shortNames"], names["categories"]) == (["gitrepo"], ["all", "fluxcd", "fluxcd-sources"])
    (version,) = definition["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1", True, True)
    assert version["subresources"] == {"status": {}}
    columns = [(column["name"], column["jsonPath"]) for column in version["additionalPrinterColumns"]]
    ready = '.status.conditions[?(@.type=="Ready")]'
    assert columns == [
        ("URL", ".spec.url"),
        ("Age", ".metadata.creationTimestamp"),
        ("Ready", f"{ready}.status"),
        ("Status", f"{ready}.message"),
    ]


async def test_a_new_object_has_flux_defaults(story: Story) -> None:
    await story.source(suspend=True)
    created = await story.admin.get(*REPO, story.namespace, "repo")
    assert created["status"] == {"observedGeneration": -1}
    assert created["spec"]["timeout"] == "60s"


async def test_the_branch_is_master_where_none_is_named(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source(ref={})
    failed = await story.failed("repo", 'couldn\'t find remote ref "refs/heads/master"', REPO)
    assert conditions(failed)["FetchFailed"][1] == "GitOperationFailed"
    commit = story.git.commit({"a.yaml": "a: 2"}, branch="master")
    await looked(story, "master")
    source = await stored(story)
    assert source["status"]["artifact"]["revision"] == f"master@sha1:{commit}"


async def test_a_suspended_repository_is_not_looked_at(story: Story) -> None:
    first = story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    source = await stored(story)
    await story.source(suspend=True)
    story.git.commit({"a.yaml": "a: 2"})
    await story.pull("suspended")
    await story.source("other")
    await stored(story, "other")
    left = await story.admin.get(*REPO, story.namespace, "repo")
    assert left["status"] == source["status"]
    await story.source(suspend=False)
    resumed = await stored(story)
    assert resumed["status"]["lastHandledReconcileAt"] == "suspended"
    assert first not in resumed["status"]["artifact"]["revision"]


async def test_a_pass_ends_with_its_timeout(story: Story) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source(url="http://127.0.0.1:9/x.git", timeout="500ms")
    failed = await story.failed("repo", "unable to clone 'http://127.0.0.1:9/x.git'", REPO)
    assert conditions(failed)["Reconciling"][1] == "ProgressingWithRetry"


async def test_submodules_are_part_of_the_artifact_where_asked_for(story: Story) -> None:
    weights = story.server.repository(f"{story.namespace}-weights")
    first = weights.commit({"weights.yaml": CONFIG % "weights"})
    address = f"../{story.namespace}-weights.git"
    story.git.commit({"c.yaml": CONFIG % "c"}, submodules={"data/w": (address, first)})
    await story.source()
    plain = await stored(story)
    assert await files(plain) == ["c.yaml"]
    assert "data/w" in [member.name for member in members(await downloaded(plain))]
    assert "observedRecurseSubmodules" not in plain["status"]

    await story.source(recurseSubmodules=True)
    source = await stored(story)
    assert await files(source) == ["c.yaml", "data/w/weights.yaml"]
    assert source["status"]["observedRecurseSubmodules"] is True
    assert source["status"]["artifact"]["revision"] == plain["status"]["artifact"]["revision"]
    assert source["status"]["artifact"]["digest"] != plain["status"]["artifact"]["digest"]
    await story.kustomization()
    await story.ready()
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "weights")

    second = weights.commit({"weights.yaml": CONFIG % "heavier"})
    story.git.commit({}, submodules={"data/w": (address, second)})
    await looked(story, "bump")
    await story.until(("v1", "ConfigMap"), "heavier", lambda found: found is not None)

    story.git.commit({}, submodules={"data/w": ("http://127.0.0.1:9/gone.git", second)})
    await story.pull("gone")
    failed = await story.failed("repo", "submodule 'data/w': unable to clone 'http://127.0.0.1:9/gone.git'", REPO)
    assert conditions(failed)["FetchFailed"][:2] == ("True", "GitOperationFailed")
    assert failed["status"]["artifact"]["revision"] != plain["status"]["artifact"]["revision"]
    await story.source(recurseSubmodules=False)
    assert await files(await stored(story)) == ["c.yaml"]


async def test_a_sparse_checkout_only_fetches_the_submodules_within(story: Story) -> None:
    weights = story.server.repository(f"{story.namespace}-weights").commit({"w.yaml": CONFIG % "w"})
    address = f"../{story.namespace}-weights.git"
    submodules = {"apps/w": (address, weights), "docs/x": ("../absent.git", "b" * 40)}
    story.git.commit({"apps/c.yaml": CONFIG % "c", "docs/d.yaml": CONFIG % "d"}, submodules=submodules)
    await story.source(recurseSubmodules=True, sparseCheckout=["./apps/"])
    assert await files(await stored(story)) == ["apps/c.yaml", "apps/w/w.yaml"]
    assert requests(story, f"{story.namespace}-weights") != []
    await story.source(recurseSubmodules=True, sparseCheckout=["docs/"])
    await story.failed("repo", "submodule 'docs/x'", REPO)


async def test_ignore_is_the_last_word(story: Story) -> None:
    story.git.commit({".sourceignore": "*.md\n", "a.md": "x", "b.md": "x", "c.yaml": "x", "logo.png": "x"})
    await story.source(ignore="!b.md\nc.yaml\n")
    source = await stored(story)
    assert await files(source) == [".sourceignore", "b.md", "logo.png"]
    assert source["status"]["observedIgnore"] == "!b.md\nc.yaml\n"


async def test_includes_are_of_the_same_namespace_and_named_after_the_repository(story: Story) -> None:
    story.git.commit({"c.yaml": "x"})
    await story.source("base")
    await stored(story, "base")
    await story.source(include=[{"repository": {"name": "base"}}])
    source = await stored(story)
    assert await files(source) == ["base/c.yaml", "c.yaml"]
    assert [one["revision"] for one in source["status"]["includedArtifacts"]] == [
        source["status"]["artifact"]["revision"]
    ]
    await story.source(include=[{"repository": {"name": "absent"}}])
    failed = await story.failed("repo", "could not get resource for include 'absent'", REPO)
    assert conditions(failed)["IncludeUnavailable"][1] == "NotFound"
    assert condition(failed, "FetchFailed") == ""
    assert message(failed) == message(failed, "IncludeUnavailable")
