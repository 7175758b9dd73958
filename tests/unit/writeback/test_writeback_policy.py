"""Who may write where: nothing by accident, and a Canary never gets more than it brings or is given."""

import pytest

from agent.core.writeback.policy import Policy, PolicyError, policy_of

COMMIT = {"weir.dev/write-back": "commit", "weir.dev/write-back-secret": "w", "weir.dev/write-back-branch": "main"}
PULL = {**COMMIT, "weir.dev/write-back": "pull-request", "weir.dev/write-back-provider": "gitlab"}


def policy(canary: dict[str, str], source: dict[str, str], url: str = "https://git.example.org/a/b.git", **more: str):
    return policy_of(canary, source, namespaces=("models", "flux-system"), url=url, follows=more.get("follows", "main"))


@pytest.mark.parametrize(
    ("canary", "source", "mode", "namespace"),
    [
        ({}, {}, "off", ""),
        ({}, COMMIT, "commit", "flux-system"),
        (COMMIT, {}, "commit", "models"),
        (COMMIT, {"weir.dev/write-back": "off"}, "commit", "models"),
        ({"weir.dev/write-back": "off"}, COMMIT, "off", ""),
        ({"weir.dev/write-back": "pull-request"}, {**PULL, **COMMIT}, "pull-request", "flux-system"),
        ({"weir.dev/write-back": "commit"}, PULL, "pull-request", "flux-system"),
        ({"weir.dev/write-back": "commit"}, {"weir.dev/write-back-secret": "w"}, "off", ""),
        ({"weir.dev/write-back-secret": "mine"}, COMMIT, "off", ""),
    ],
)  # fmt: skip
def test_a_canary_without_a_secret_can_only_lessen(
    canary: dict[str, str], source: dict[str, str], mode: str, namespace: str
) -> None:
    found = policy(canary, source)
    assert (found.mode, found.secret[0]) == (mode, namespace)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"weir.dev/write-back": "yes"}, "use commit, pull-request or off"),
        ({"weir.dev/write-back-secret": ""}, "name one in weir.dev/write-back-secret"),
        ({"weir.dev/write-back-branch": ""}, "set weir.dev/write-back-branch"),
        ({"weir.dev/write-back-branch": "--force"}, "no name of a branch"),
        ({"weir.dev/write-back-branch": "a b"}, "no name of a branch"),
        ({"weir.dev/write-back-provider": "svn"}, "use github, gitlab, gitea or forgejo"),
        ({"weir.dev/write-back": "pull-request"}, "set weir.dev/write-back-provider"),
        ({"weir.dev/write-back-api": "ftp://x"}, "http or https address"),
        ({"weir.dev/write-back-api": "https://me:pw@x"}, "without credentials"),
        ({"weir.dev/write-back-committer": "me"}, "Name <mail@example.org>"),
        ({"weir.dev/write-back-committer": "me <a@b>\nx <c@d>"}, "Name <mail@example.org>"),
    ],
)
def test_what_cannot_be_meant_is_said(changed: dict[str, str], says: str) -> None:
    with pytest.raises(PolicyError, match=says) as caught:
        policy({}, {**COMMIT, **changed})
    assert "pw" not in str(caught.value)


def test_the_kind_of_server_is_known_by_its_name() -> None:
    asked = {**COMMIT, "weir.dev/write-back": "pull-request"}
    hosts = {
        "https://github.com/a/b": "github",
        "ssh://git@gitlab.com/a/b": "gitlab",
        "https://codeberg.org/a": "gitea",
    }
    for url, provider in hosts.items():
        assert policy({}, asked, url).provider == provider
    assert policy({}, {**asked, "weir.dev/write-back-provider": "forgejo"}).provider == "gitea"


def test_a_pull_request_goes_to_the_branch_that_is_followed() -> None:
    asked = {key: value for key, value in PULL.items() if key != "weir.dev/write-back-branch"}
    assert policy({}, asked).branch == "main"
    with pytest.raises(PolicyError, match="follows no branch"):
        policy({}, asked, follows="")


def test_nothing_is_on_by_default() -> None:
    assert Policy() == Policy(mode="off", secret=("", ""), protected=False)
