"""Whether, how and as whom a rollback is written to Git: annotations of the Canary and of its GitRepository.

Nothing is written unless one of them asks for it and names a Secret of its own. A Canary that names no Secret can only
lessen what the GitRepository allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args
from urllib.parse import urlsplit

import msgspec

MODE = "weir.dev/write-back"
SECRET = "weir.dev/write-back-secret"  # noqa: S105 - the name of an annotation
BRANCH = "weir.dev/write-back-branch"
PROVIDER = "weir.dev/write-back-provider"
API = "weir.dev/write-back-api"
COMMITTER = "weir.dev/write-back-committer"
PROTECTED = "weir.dev/write-back-protected"

Mode = Literal["off", "commit", "pull-request"]
Provider = Literal["", "github", "gitlab", "gitea"]
_ORDER: tuple[Mode, ...] = ("off", "pull-request", "commit")
_ALIASES = {"forgejo": "gitea"}
_HOSTS: Mapping[str, Provider] = {"github.com": "github", "gitlab.com": "gitlab", "codeberg.org": "gitea"}
_COMMITTER = re.compile(r"(?P<name>[^<>\n]{1,100}) <(?P<email>[^<>\s]{1,200})>")
_BRANCH = re.compile(r"(?!-)[^\s~^:?*\[\\]{1,200}")


class PolicyError(ValueError):
    """An annotation that cannot be meant; the text names it and says what would do."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `secret` is (namespace, name); `branch` is empty for the one that is followed."""

    mode: Mode = "off"
    secret: tuple[str, str] = ("", "")
    branch: str = ""
    provider: Provider = ""
    api: str = ""
    committer: tuple[str, str] = ("Weir", "weir@weir.dev")
    protected: bool = False
    """Whether a branch that its server protects may be pushed to."""


def policy_of(
    canary: Mapping[str, str], source: Mapping[str, str], *, namespaces: tuple[str, str], url: str, follows: str
) -> Policy:
    """The policy from the annotations of a Canary and of a GitRepository, whose namespaces are given in that order.

    `url` is the repository's, `follows` the branch that it follows, empty if it follows none. Raises PolicyError.
    """
    own = SECRET in canary
    given = canary if own else source
    mode = _mode(canary if own or MODE in canary else source)
    if not own and MODE in canary:
        mode = min(mode, _mode(source), key=_ORDER.index)
    if mode == "off":
        return Policy()
    secret = given.get(SECRET, "")
    if not secret:
        raise PolicyError(f"{MODE} is {mode}, and no Secret may write: name one in {SECRET}")
    branch = given.get(BRANCH, "")
    if branch and not _BRANCH.fullmatch(branch):
        raise PolicyError(f"{BRANCH} is {branch!r}, which is no name of a branch")
    if mode == "commit" and not branch:
        raise PolicyError(f"{MODE} is commit, and a branch is only pushed to where it is named: set {BRANCH}")
    if not (branch or follows):
        raise PolicyError(f"the GitRepository follows no branch: name the one to write to in {BRANCH}")
    return Policy(
        mode=mode,
        secret=(namespaces[0] if own else namespaces[1], secret),
        branch=branch or follows,
        provider=_provider(given, url, needed=mode == "pull-request"),
        api=_api(given),
        committer=_committer(given),
        protected=given.get(PROTECTED, "") == "allow",
    )


def _mode(annotations: Mapping[str, str]) -> Mode:
    text = annotations.get(MODE, "off")
    if text not in get_args(Mode):
        raise PolicyError(f"{MODE} is {text!r}: use commit, pull-request or off")
    mode: Mode = text  # type: ignore[assignment]
    return mode


def _provider(annotations: Mapping[str, str], url: str, *, needed: bool) -> Provider:
    text = annotations.get(PROVIDER, "")
    text = _ALIASES.get(text, text)
    if text not in get_args(Provider):
        raise PolicyError(f"{PROVIDER} is {text!r}: use github, gitlab, gitea or forgejo")
    found: Provider = text or _HOSTS.get(urlsplit(url).hostname or "", "")  # type: ignore[assignment]
    if needed and not found:
        raise PolicyError(f"{MODE} is pull-request, and the kind of server is not known: set {PROVIDER}")
    return found


def _api(annotations: Mapping[str, str]) -> str:
    address = annotations.get(API, "").rstrip("/")
    parts = urlsplit(address)
    if address and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
        raise PolicyError(f"{API} has to be an http or https address without credentials")
    return address


def _committer(annotations: Mapping[str, str]) -> tuple[str, str]:
    text = annotations.get(COMMITTER, "")
    if not text:
        return Policy().committer
    match = _COMMITTER.fullmatch(text)
    if match is None:
        raise PolicyError(f"{COMMITTER} is {text!r}: write it as `Name <mail@example.org>`")
    return match["name"].strip(), match["email"]
