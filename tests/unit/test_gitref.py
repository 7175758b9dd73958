"""Which commit a reference means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.gitrepository import GitRepositoryRef
from agent.core.gitref import (
    Candidate,
    Failure,
    GitReference,
    RemoteRefs,
    Target,
    Unresolved,
    commit_of_revision,
    normalise_revision,
    resolve,
    revision,
    same_revision,
)

URL = "https://git.example.org/apps"
A, B, C, D, E = (digit * 40 for digit in "abcde")

REMOTE = RemoteRefs(
    {
        "HEAD": A,
        "refs/heads/main": A,
        "refs/heads/master": B,
        "refs/pull/1/head": C,
        "refs/tags/v1.0.0": B,
        "refs/tags/v1.1.0": D,
        "refs/tags/v1.1.0^{}": C,
        "refs/tags/v1.2.0-rc.1": A,
        "refs/tags/v2": A,
        "refs/tags/v3.0.0+one": A,
        "refs/tags/v3.0.0+two": B,
        "refs/tags/latest": E,
    }
)


def found(reference: GitReference) -> Target:
    result = resolve(reference, REMOTE, URL)
    assert isinstance(result, Target)
    return result


def failed(reference: GitReference, remote: RemoteRefs = REMOTE) -> Unresolved:
    result = resolve(reference, remote, URL)
    assert isinstance(result, Unresolved)
    return result


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        (GitReference(), Candidate(B, B, f"master@sha1:{B}")),
        (GitReference(branch="main"), Candidate(A, A, f"main@sha1:{A}")),
        (GitReference(tag="v1.0.0"), Candidate(B, B, f"v1.0.0@sha1:{B}")),
        (GitReference(tag="v1.1.0"), Candidate(D, C, f"v1.1.0@sha1:{C}")),
        (GitReference(tag="latest"), Candidate(E, E, f"latest@sha1:{E}")),
        (GitReference(name="refs/heads/main"), Candidate(A, A, f"refs/heads/main@sha1:{A}")),
        (GitReference(name="refs/tags/v1.1.0"), Candidate(D, C, f"refs/tags/v1.1.0@sha1:{C}")),
        (GitReference(name="refs/tags/v1.1.0^{}"), Candidate(D, C, f"refs/tags/v1.1.0^{{}}@sha1:{C}")),
        (GitReference(name="refs/pull/1/head"), Candidate(C, C, f"refs/pull/1/head@sha1:{C}")),
        (GitReference(semver=">=1.0.0 <2.0.0"), Candidate(D, C, f"v1.1.0@sha1:{C}")),
        (GitReference(semver="~1.0"), Candidate(B, B, f"v1.0.0@sha1:{B}")),
        (GitReference(semver=">=1.2.0-0 <1.3.0"), Candidate(A, A, f"v1.2.0-rc.1@sha1:{A}")),
        (GitReference(commit=E), Candidate(E, E, f"sha1:{E}")),
        (GitReference(commit=E, branch="main"), Candidate(E, E, f"main@sha1:{E}")),
    ],
)
def test_references_and_their_revisions(reference: GitReference, candidate: Candidate) -> None:
    target = found(reference)
    assert target.candidates == (candidate,)
    assert target.revision == candidate.revision
    assert target.listed == (not reference.commit)


def test_precedence_is_commit_name_tag_semver_branch() -> None:
    everything = {"branch": "main", "semver": "~1.1", "tag": "v1.0.0", "name": "refs/pull/1/head", "commit": E}
    expected = {
        "commit": f"main@sha1:{E}",
        "name": f"refs/pull/1/head@sha1:{C}",
        "tag": f"v1.0.0@sha1:{B}",
        "semver": f"v1.1.0@sha1:{C}",
        "branch": f"main@sha1:{A}",
    }
    for field in ("commit", "name", "tag", "semver", "branch"):
        assert found(GitReference(**everything)).revision == expected[field]
        del everything[field]


def test_versions_that_differ_by_build_metadata_are_all_candidates() -> None:
    target = found(GitReference(semver="3.0.0"))
    assert [candidate.revision for candidate in target.candidates] == [f"v3.0.0+one@sha1:{A}", f"v3.0.0+two@sha1:{B}"]
    assert target.revision is None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (GitReference(branch="gone"), f"unable to clone '{URL}': couldn't find remote ref \"refs/heads/gone\""),
        (GitReference(tag="v9"), f"unable to clone '{URL}': couldn't find remote ref \"refs/tags/v9\""),
        (GitReference(semver=">=9"), "no match found for semver: >=9"),
        (GitReference(name="refs/changes/1"), "unable to resolve ref 'refs/changes/1' to a specific commit"),
        (
            GitReference(commit=E, branch="gone"),
            f"unable to clone '{URL}': couldn't find remote ref \"refs/heads/gone\"",
        ),
    ],
)
def test_what_is_not_there_is_not_found(reference: GitReference, message: str) -> None:
    assert failed(reference) == Unresolved(Failure.NOT_FOUND, message)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (GitReference(semver="latest"), 'semver parse error: improper constraint: "latest"'),
        (GitReference(name="/refs/heads/main"), "cannot begin or end with a slash"),
        (GitReference(name="refs/heads/main/"), "cannot begin or end with a slash"),
        (GitReference(commit="abc123"), "unable to resolve commit object for 'abc123'"),
        (GitReference(commit="--upload-pack=x"), "unable to resolve commit object"),
    ],
)
def test_what_cannot_be_right_is_invalid(reference: GitReference, words: str) -> None:
    failure = failed(reference)
    assert failure.failure is Failure.INVALID
    assert words in failure.message


def test_an_empty_repository_is_told_apart_from_a_missing_branch() -> None:
    empty = RemoteRefs({})
    assert failed(GitReference(branch="main"), empty) == Unresolved(Failure.EMPTY, "git repository is empty")
    assert "remote repository is empty" in failed(GitReference(tag="v1"), empty).message


def test_the_reference_of_a_spec() -> None:
    assert GitReference.from_spec(None) == GitReference()
    assert GitReference.from_spec(GitRepositoryRef(tag="v1")) == GitReference(tag="v1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"main/{A}", f"main@sha1:{A}"),
        (f"feature/x/{A}", f"feature/x@sha1:{A}"),
        (A, f"sha1:{A}"),
        (f"main@sha1:{A}", f"main@sha1:{A}"),
        ("sha256:abc", "sha256:abc"),
        ("latest@sha256:abc", "latest@sha256:abc"),
    ],
)
def test_revisions_of_older_releases(old: str, new: str) -> None:
    assert normalise_revision(old) == new
    assert same_revision(old, new)


def test_different_revisions_stay_different() -> None:
    assert not same_revision(f"main/{A}", f"main@sha1:{B}")
    assert not same_revision(f"main@sha1:{A}", f"other@sha1:{A}")


@given(st.text(alphabet="abc/-.@", max_size=20), st.text(alphabet="0123456789abcdef", min_size=40, max_size=40))
def test_a_revision_gives_its_commit_back(name: str, commit: str) -> None:
    assert commit_of_revision(revision(name, commit)) == commit
    assert normalise_revision(revision(name, commit)) == revision(name, commit)


@pytest.mark.parametrize("text", ["", "main", "sha256:" + "0" * 64, "latest@sha256:" + "0" * 64, "main@sha1:123"])
def test_other_revisions_have_no_commit(text: str) -> None:
    assert commit_of_revision(text) is None
