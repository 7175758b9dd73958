"""Every kind of reference, against a real server."""

from __future__ import annotations

import pytest

from agent.adapters.git import EmptyRepositoryError, GitMirrors, GitOperationError, GitRemote
from agent.core.gitref import GitReference, Target, resolve
from testbed.git import GitHTTPServer, GitRepository

TIMEOUT = 60.0


class Example:
    """Two branches, light and annotated tags, a pull request, and a commit that nothing points to."""

    def __init__(self, server: GitHTTPServer) -> None:
        self.repository: GitRepository = server.repository("example")
        self.remote = GitRemote(server.url("example"))
        self.first = self.repository.commit({"a.yaml": "1"}, "first\n")
        self.repository.tag("v1.0.0", self.first)
        self.second = self.repository.commit({"a.yaml": "2"}, "second\n")
        self.tag_object = self.repository.tag("v1.1.0", self.second, message="release\n")
        self.third = self.repository.commit({"a.yaml": "3"}, "third\n")
        self.repository.tag("v2.0.0-rc.1", self.third)
        self.repository.tag("nightly", self.third)
        self.request = self.repository.commit({"a.yaml": "request"}, "proposal\n", branch="proposal")
        self.repository.set_ref("refs/pull/7/head", self.request)
        self.repository.delete_branch("proposal")


@pytest.fixture
def example(server: GitHTTPServer) -> Example:
    return Example(server)


@pytest.mark.parametrize(
    ("reference", "revision", "content"),
    [
        (GitReference(branch="main"), "main@sha1:{third}", b"3"),
        (GitReference(tag="v1.0.0"), "v1.0.0@sha1:{first}", b"1"),
        (GitReference(tag="v1.1.0"), "v1.1.0@sha1:{second}", b"2"),
        (GitReference(semver="1.x"), "v1.1.0@sha1:{second}", b"2"),
        (GitReference(semver=">=1.0.0-0"), "v2.0.0-rc.1@sha1:{third}", b"3"),
        (GitReference(name="refs/heads/main"), "refs/heads/main@sha1:{third}", b"3"),
        (GitReference(name="refs/tags/v1.1.0"), "refs/tags/v1.1.0@sha1:{second}", b"2"),
        (GitReference(name="refs/pull/7/head"), "refs/pull/7/head@sha1:{request}", b"request"),
        (GitReference(commit="{first}"), "sha1:{first}", b"1"),
        (GitReference(commit="{second}", branch="main"), "main@sha1:{second}", b"2"),
    ],
)
async def test_references(
    example: Example, mirrors: GitMirrors, reference: GitReference, revision: str, content: bytes
) -> None:
    if reference.commit:
        reference = GitReference(branch=reference.branch, commit=reference.commit.format_map(vars(example)))
    commit = await mirrors.checkout(example.remote, reference, TIMEOUT)
    assert commit.revision == revision.format_map(vars(example))
    assert commit.revision.endswith(commit.sha)
    assert commit.tree.read("a.yaml") == content


async def test_a_listing_alone_tells_the_revision(example: Example, mirrors: GitMirrors, server: GitHTTPServer) -> None:
    reference = GitReference(branch="main")
    commit = await mirrors.checkout(example.remote, reference, TIMEOUT)
    server.requests.clear()
    refs = await mirrors.list_refs(example.remote, TIMEOUT, reference)
    target = resolve(reference, refs, example.remote.address)
    assert isinstance(target, Target)
    assert target.revision == commit.revision
    assert server.transfers() == []


async def test_tags_that_differ_by_build_metadata_are_ordered_by_commit_time(
    example: Example, mirrors: GitMirrors
) -> None:
    example.repository.tag("v3.0.0+zulu", example.first)
    example.repository.tag("v3.0.0+alpha", example.third)
    commit = await mirrors.checkout(example.remote, GitReference(semver="3.x"), TIMEOUT)
    assert commit.revision == f"v3.0.0+alpha@sha1:{example.third}"


async def test_a_commit_that_is_here_needs_no_network(
    example: Example, mirrors: GitMirrors, server: GitHTTPServer
) -> None:
    await mirrors.checkout(example.remote, GitReference(branch="main"), TIMEOUT)
    server.requests.clear()
    commit = await mirrors.checkout(example.remote, GitReference(commit=example.third), TIMEOUT)
    assert commit.sha == example.third
    assert server.requests == []


async def test_a_commit_is_found_where_the_server_only_hands_out_tips(
    example: Example, mirrors: GitMirrors, server: GitHTTPServer
) -> None:
    # Version 2 of the protocol hands out any commit, so this server speaks the older one.
    server.protocols = ("",)
    await mirrors.checkout(example.remote, GitReference(branch="main"), TIMEOUT)
    commit = await mirrors.checkout(example.remote, GitReference(commit=example.first), TIMEOUT)
    assert commit.tree.read("a.yaml") == b"1"
    with pytest.raises(GitOperationError, match=r"unable to resolve commit object for 'b{40}': object not found"):
        await mirrors.checkout(example.remote, GitReference(commit="b" * 40), TIMEOUT)
    with pytest.raises(GitOperationError, match='couldn\'t find remote ref "refs/heads/gone"'):
        await mirrors.checkout(example.remote, GitReference(commit=example.second, branch="gone"), TIMEOUT)


async def test_an_unknown_commit_is_not_found(example: Example, mirrors: GitMirrors) -> None:
    with pytest.raises(GitOperationError) as caught:
        await mirrors.checkout(example.remote, GitReference(commit="b" * 40), TIMEOUT)
    assert caught.value.reason == "GitOperationFailed"
    assert caught.value.message == (
        f"failed to checkout and determine revision: unable to resolve commit object for '{'b' * 40}': object not found"
    )


async def test_a_deleted_branch_is_not_found(example: Example, mirrors: GitMirrors) -> None:
    example.repository.set_branch("feature", example.second)
    reference = GitReference(branch="feature")
    assert (await mirrors.checkout(example.remote, reference, TIMEOUT)).sha == example.second
    example.repository.delete_branch("feature")
    with pytest.raises(GitOperationError) as caught:
        await mirrors.checkout(example.remote, reference, TIMEOUT)
    assert caught.value.reason == "GitOperationFailed"
    assert caught.value.message == (
        "failed to checkout and determine revision: "
        f"unable to clone '{example.remote.url}': couldn't find remote ref \"refs/heads/feature\""
    )


async def test_a_force_push_is_followed(example: Example, mirrors: GitMirrors) -> None:
    reference = GitReference(branch="main")
    before = await mirrors.checkout(example.remote, reference, TIMEOUT)
    sha = example.repository.force_push({"b.yaml": "rewritten"})
    after = await mirrors.checkout(example.remote, reference, TIMEOUT)
    assert after.sha == sha
    assert after.tree.stat("a.yaml") is None
    assert [change.path for change in after.tree.diff(before.tree)] == ["a.yaml", "b.yaml"]


async def test_an_empty_repository_has_its_own_reason(server: GitHTTPServer, mirrors: GitMirrors) -> None:
    repository = server.repository("empty")
    remote = GitRemote(server.url("empty"))
    with pytest.raises(EmptyRepositoryError) as caught:
        await mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)
    assert caught.value.reason == "EmptyGitRepository"
    sha = repository.commit({"a.yaml": "1"})
    assert (await mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)).sha == sha


async def test_no_matching_version(example: Example, mirrors: GitMirrors) -> None:
    with pytest.raises(GitOperationError, match="no match found for semver: >=9"):
        await mirrors.checkout(example.remote, GitReference(semver=">=9"), TIMEOUT)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (GitReference(semver=">=1"), "no match found for semver: >=1"),
        (GitReference(tag="v1"), 'couldn\'t find remote ref "refs/tags/v1"'),
        (GitReference(name="refs/tags/v1"), "unable to resolve ref 'refs/tags/v1' to a specific commit"),
    ],
)
async def test_a_repository_without_tags_is_not_an_empty_one(
    server: GitHTTPServer, mirrors: GitMirrors, reference: GitReference, words: str
) -> None:
    server.repository("plain").commit({"a.yaml": "1"})
    remote = GitRemote(server.url("plain"))
    with pytest.raises(GitOperationError, match=words):
        await mirrors.checkout(remote, reference, TIMEOUT)
    refs = await mirrors.list_refs(remote, TIMEOUT, reference)
    assert list(refs.refs) != []


async def test_a_full_name_only_lists_what_is_of_its_kind(example: Example, mirrors: GitMirrors) -> None:
    for name, kinds in (("refs/heads/main", {"heads"}), ("refs/tags/v1.0.0", {"tags"})):
        refs = await mirrors.list_refs(example.remote, TIMEOUT, GitReference(name=name))
        assert name in refs.refs
        assert {other.split("/")[1] for other in refs.refs} == kinds
