"""Flux reference 2.3: which commit a reference means, and how its revision is written. More of it in tests/git."""

from __future__ import annotations

import pytest

from tests.scenarios.conformance.flux_source import forget, looked, requests, stored
from tests.scenarios.conftest import REPO, Story, conditions


async def test_every_kind_of_reference_has_its_revision(story: Story) -> None:
    first = story.git.commit({"a.yaml": "a: 1"})
    tag = story.git.tag("v1.2.3", first, message="release\n")
    second = story.git.commit({"a.yaml": "a: 2"})
    story.git.tag("v1.3.0-rc.1", second)
    story.git.tag("v0.9", second)
    request = story.git.commit({"a.yaml": "a: 3"}, branch="proposal")
    story.git.set_ref("refs/pull/7/head", request)
    story.git.delete_branch("proposal")
    assert tag != first
    for ref, revision in (
        ({"branch": "main"}, f"main@sha1:{second}"),
        ({"tag": "v1.2.3"}, f"v1.2.3@sha1:{first}"),
        ({"semver": ">=1.0.0"}, f"v1.2.3@sha1:{first}"),
        ({"semver": ">=1.0.0-0"}, f"v1.3.0-rc.1@sha1:{second}"),
        ({"name": "refs/heads/main"}, f"refs/heads/main@sha1:{second}"),
        ({"name": "refs/tags/v1.2.3"}, f"refs/tags/v1.2.3@sha1:{first}"),
        ({"name": "refs/tags/v1.2.3^{}"}, f"refs/tags/v1.2.3^{{}}@sha1:{first}"),
        # Upstream cannot check out a request that no branch reaches.
        ({"name": "refs/pull/7/head"}, f"refs/pull/7/head@sha1:{request}"),
        ({"commit": first}, f"sha1:{first}"),
        ({"commit": first, "branch": "main"}, f"main@sha1:{first}"),
        # The order of the code: commit, name, tag, semver, branch.
        ({"commit": second, "name": "refs/tags/v1.2.3"}, f"sha1:{second}"),
        ({"name": "refs/heads/main", "tag": "v1.2.3"}, f"refs/heads/main@sha1:{second}"),
        ({"tag": "v1.2.3", "semver": ">=1.0.0-0"}, f"v1.2.3@sha1:{first}"),
        ({"semver": "1.2.x", "branch": "main"}, f"v1.2.3@sha1:{first}"),
    ):
        await story.source(ref=ref)
        source = await stored(story)
        assert source["status"]["artifact"]["revision"] == revision, ref
        assert conditions(source)["Ready"] == ("True", "Succeeded", f"stored artifact for revision '{revision}'")


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ({"branch": "gone"}, 'couldn\'t find remote ref "refs/heads/gone"'),
        ({"tag": "gone"}, 'couldn\'t find remote ref "refs/tags/gone"'),
        ({"semver": ">=2.0.0"}, "no match found for semver: >=2.0.0"),
        ({"semver": "1.0"}, "no match found for semver: 1.0"),
        ({"semver": "not a range"}, "semver parse error: "),
        ({"name": "refs/heads/gone"}, "unable to resolve ref 'refs/heads/gone' to a specific commit"),
        ({"name": "refs/tags/light^{}"}, "unable to resolve ref 'refs/tags/light^{}' to a specific commit"),
        (
            {"name": "/refs/heads/main"},
            "ref /refs/heads/main is invalid; Git refs cannot begin or end with a slash '/'",
        ),
        ({"commit": "b" * 40}, f"unable to resolve commit object for '{'b' * 40}': object not found"),
        ({"commit": "--upload-pack=id"}, "unable to resolve commit object for '--upload-pack=id': object not found"),
    ],
)
async def test_references_that_lead_nowhere(story: Story, ref: dict[str, str], words: str) -> None:
    story.git.tag("light", story.git.commit({"a.yaml": "a: 1"}))
    await story.source(ref=ref)
    failed = await story.failed("repo", words, REPO)
    told = conditions(failed)
    assert told["FetchFailed"][:2] == ("True", "GitOperationFailed")
    assert told["Ready"][2].startswith("failed to checkout and determine revision: ")
    assert failed["status"]["observedGeneration"] == -1


async def test_equal_versions_are_ordered_by_the_time_of_their_commits(story: Story) -> None:
    older, newer = story.git.commit({"a.yaml": "a: 1"}), story.git.commit({"a.yaml": "a: 2"})
    story.git.tag("v1.0.0+zulu", older)
    story.git.tag("v1.0.0+alpha", newer)
    await story.source(ref={"semver": "1.0.x"})
    assert (await stored(story))["status"]["artifact"]["revision"] == f"v1.0.0+alpha@sha1:{newer}"


async def test_a_revision_in_the_old_form_is_no_news(story: Story) -> None:
    commit = story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    source = await stored(story)
    await story.event("repo", "NewArtifact")
    legacy = {**source["status"]["artifact"], "revision": f"main/{commit}"}
    await story.admin.patch(*REPO, story.namespace, "repo", {"status": {"artifact": legacy}}, subresource="status")
    after = await looked(story, "legacy")
    assert after["status"]["artifact"]["digest"] == source["status"]["artifact"]["digest"]
    assert after["status"]["artifact"]["lastUpdateTime"] == source["status"]["artifact"]["lastUpdateTime"]
    reasons = [line.partition(":")[0] for line in await story.events("repo")]
    assert reasons.count("NewArtifact") == 1


async def test_an_empty_repository(story: Story) -> None:
    await story.source()
    failed = await story.failed("repo", "git repository is empty", REPO)
    assert conditions(failed)["FetchFailed"][1] == conditions(failed)["Ready"][1] == "EmptyGitRepository"
    commit = story.git.commit({"a.yaml": "a: 1"})
    await story.pull("first")
    assert (await stored(story))["status"]["artifact"]["revision"] == f"main@sha1:{commit}"


async def test_a_fixed_commit_is_never_asked_for_again(story: Story) -> None:
    commit = story.git.commit({"a.yaml": "a: 1"})
    await story.source(ref={"commit": commit})
    await stored(story)
    forget(story)
    await looked(story, "again")
    assert requests(story) == []
