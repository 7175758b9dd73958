"""How the APIs of Git servers differ: addresses, headers and names of fields. No I/O.

Sources: GitHub's REST API 2022-11-28 (`/repos/{owner}/{repo}/pulls`, `/branches/{branch}`), GitLab's v4
(`/projects/{id}/merge_requests`, `/repository/branches/{branch}`), Gitea's v1, which Forgejo keeps (`/repos/.../pulls`,
`/branches/{branch}`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from agent.errors import OperationError


class ForgeError(OperationError):
    """The API of a Git server refused something, or could not be reached."""

    reason = "WriteBackFailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A repository at a server: `kind` is github, gitlab or gitea, `path` its full path, `api` the API's address."""

    kind: str
    path: str
    api: str

    @classmethod
    def of(cls, kind: str, url: str, api: str = "") -> Where:
        """From the address that Git uses. `api` replaces the usual place of the API on the same host."""
        parts = urlsplit(url)
        path = parts.path.strip("/").removesuffix(".git")
        scheme = parts.scheme if parts.scheme in {"http", "https"} else "https"
        port = f":{parts.port}" if parts.port and parts.scheme != "ssh" else ""
        host = f"{scheme}://{parts.hostname or ''}{port}"
        if not api and kind == "github":
            api = "https://api.github.com" if parts.hostname == "github.com" else f"{host}/api/v3"
        return cls(kind=kind, path=path, api=api or f"{host}/api/{'v4' if kind == 'gitlab' else 'v1'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A pull request that is there: its address for people, and whether it is open, merged or closed."""

    url: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    method: str
    url: str
    body: Mapping[str, Any] | None = None


def headers(where: Where, token: str) -> dict[str, str]:
    """What every request carries."""
    match where.kind:
        case "github":
            return {
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            }
        case "gitlab":
            return {"PRIVATE-TOKEN": token, "Accept": "application/json"}
        case _:
            return {"Authorization": f"token {token}", "Accept": "application/json"}


def looking(where: Where, head: str, base: str) -> Call:
    """The request that finds a pull request from one branch to another, in whatever state."""
    match where.kind:
        case "github":
            owner = where.path.partition("/")[0]
            query = f"head={quote(f'{owner}:{head}', safe='')}&base={quote(base, safe='')}&state=all"
        case "gitlab":
            query = f"source_branch={quote(head, safe='')}&target_branch={quote(base, safe='')}&state=all"
        case _:
            return Call(method="GET", url=f"{_pulls(where)}/{quote(base, safe='')}/{quote(head, safe='')}")
    return Call(method="GET", url=f"{_pulls(where)}?{query}")


def opening(where: Where, head: str, base: str, title: str, text: str) -> Call:
    """The request that opens one."""
    if where.kind == "gitlab":
        body: dict[str, Any] = {"source_branch": head, "target_branch": base, "title": title, "description": text}
        return Call(method="POST", url=_pulls(where), body={**body, "remove_source_branch": True})
    return Call(method="POST", url=_pulls(where), body={"head": head, "base": base, "title": title, "body": text})


def asking_for_branch(where: Where, branch: str) -> Call:
    """The request that tells whether a branch is protected."""
    if where.kind == "gitlab":
        return Call(method="GET", url=f"{_project(where)}/repository/branches/{quote(branch, safe='')}")
    return Call(method="GET", url=f"{_project(where)}/branches/{quote(branch, safe='')}")


def proposal_in(where: Where, answer: Any) -> Proposal | None:
    """The pull request in an answer: an object, or the newest of a list; None where there is none."""
    found = (answer[0] if answer else None) if isinstance(answer, list) else answer
    if not isinstance(found, Mapping):
        return None
    url = found.get("web_url" if where.kind == "gitlab" else "html_url")
    if not isinstance(url, str):
        return None
    merged = bool(found.get("merged_at") or found.get("merged"))
    state = "merged" if merged else "open" if str(found.get("state")) in {"open", "opened"} else "closed"
    return Proposal(url=url, state=state)


def _project(where: Where) -> str:
    if where.kind == "gitlab":
        return f"{where.api}/projects/{quote(where.path, safe='')}"
    return f"{where.api}/repos/{quote(where.path)}"


def _pulls(where: Where) -> str:
    return f"{_project(where)}/{'merge_requests' if where.kind == 'gitlab' else 'pulls'}"
