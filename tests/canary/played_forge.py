"""The API of GitHub or GitLab over a real repository: pull requests that are opened, closed and merged.

What is answered follows GitHub's REST API 2022-11-28 (`/repos/{owner}/{repo}/pulls`) and GitLab's v4
(`/projects/{id}/merge_requests`): the newest first, one open request for a branch, none for a branch that is not there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote

import pygit2
from aiohttp import web

from testbed.git import GitRepository

Kind = Literal["github", "gitlab"]
Silence = Literal["", "unheard", "unanswered"]


@dataclass
class PullRequest:
    """One of them; `merged` and `closed` say what people did with it."""

    number: int
    head: str
    base: str
    title: str
    text: str
    merged: bool = False
    closed: bool = False

    @property
    def open(self) -> bool:
        return not self.merged and not self.closed


@dataclass
class PlayedForge:
    """`answer` is a handler of aiohttp. `silence` has requests to open one hang, before or after they are carried out,
    until `released`."""

    kind: Kind
    path: str
    git: GitRepository
    token: str
    url: str = ""
    silence: Silence = ""
    pulls: list[PullRequest] = field(default_factory=list)
    hanging: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    refused: list[str] = field(default_factory=list)
    """Requests that such a server refuses, but for those that it has to."""

    async def answer(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            self.refused.append(f"{request.method} {request.raw_path}: {refusal}")
            return refusal
        if request.method == "GET":
            return web.json_response([self._shown(pull) for pull in self._found(request)])
        return await self._open(await request.json())

    def page(self, number: int) -> str:
        """Where people look at it."""
        return f"https://forge.example.org/{self.path}/{self._names[0]}/{number}"

    def close(self) -> None:
        """A person closes the newest without merging it."""
        self.pulls[-1].closed = True

    def merge(self) -> str:
        """A person merges the newest: a merge commit on the base, and the branch goes."""
        pull = self.pulls[-1]
        repository = pygit2.Repository(str(self.git.path))
        base, head = (
            repository.references[f"refs/heads/{name}"].peel(pygit2.Commit) for name in (pull.base, pull.head)
        )
        index = repository.merge_commits(base, head)
        assert index.conflicts is None
        who = pygit2.Signature("Ada Example", "ada@example.org")
        tree, parents = index.write_tree(repository), [base.id, head.id]
        message = f"Merge {pull.title}\n"
        merged = repository.create_commit(f"refs/heads/{pull.base}", who, who, message, tree, parents)
        self.git.delete_branch(pull.head)
        pull.merged = True
        return str(merged)

    @property
    def _names(self) -> tuple[str, str, str]:
        """How requests are called, and the fields of their branches."""
        if self.kind == "github":
            return "pulls", "head", "base"
        return "merge_requests", "source_branch", "target_branch"

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.kind == "github":
            known = request.headers.get("Authorization") == f"Bearer {self.token}"
            place = f"/repos/{self.path}/pulls"
        else:
            known = request.headers.get("PRIVATE-TOKEN") == self.token
            place = f"/projects/{self.path.replace('/', '%2F')}/merge_requests"
        if not known:
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        if request.raw_path.partition("?")[0] != place:
            return web.json_response({"message": "404 Not Found"}, status=404)
        return None

    def _found(self, request: web.Request) -> list[PullRequest]:
        _, head, base = self._names
        wanted = unquote(request.query[head])
        if self.kind == "github":
            owner, _, wanted = wanted.partition(":")
            assert owner == self.path.partition("/")[0]
        assert request.query["state"] == "all"
        return [pull for pull in self.pulls[::-1] if (pull.head, pull.base) == (wanted, request.query[base])]

    async def _open(self, asked: dict[str, Any]) -> web.Response:
        if self.silence == "unheard":
            return await self._hang()
        _, head, base = self._names
        found = next((pull for pull in self.pulls if pull.open and pull.head == asked[head]), None)
        if found is not None:
            return self._taken(found)
        assert {f"refs/heads/{asked[name]}" for name in (head, base)} <= set(self.git.refs)
        text = str(asked["body" if self.kind == "github" else "description"])
        self.pulls.append(PullRequest(len(self.pulls) + 1, asked[head], asked[base], asked["title"], text))
        if self.silence == "unanswered":
            return await self._hang()
        return web.json_response(self._shown(self.pulls[-1]), status=201)

    def _taken(self, found: PullRequest) -> web.Response:
        if self.kind == "github":
            owner = self.path.partition("/")[0]
            errors = [{"message": f"A pull request already exists for {owner}:{found.head}."}]
            return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)
        message = [f"Another open merge request already exists for this source branch: !{found.number}"]
        return web.json_response({"message": message}, status=409)

    def _shown(self, pull: PullRequest) -> dict[str, Any]:
        merged = datetime.now(UTC).isoformat() if pull.merged else None
        if self.kind == "github":
            state, number, page = "open" if pull.open else "closed", "number", "html_url"
        else:
            state, number, page = "opened" if pull.open else "merged" if pull.merged else "closed", "iid", "web_url"
        return {number: pull.number, "state": state, "merged_at": merged, page: self.page(pull.number)}

    async def _hang(self) -> web.Response:
        self.hanging += 1
        await self.released.wait()
        return web.Response(status=503)
