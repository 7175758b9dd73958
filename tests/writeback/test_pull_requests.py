"""Pull requests at GitHub, GitLab and Gitea, by exchanges recorded from their APIs; the branch is pushed for real."""

from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from agent.adapters.forges import ForgeError, Where
from agent.adapters.forges.dialects import looking
from agent.controllers.writeback.locating import Unlocatable
from agent.core.writeback.message import commit_message
from agent.core.writeback.policy import Policy, PolicyError, Provider
from tests.writeback.recorded_api import Exchange, RecordedApi
from tests.writeback.writeback_repository import BAD, COMMIT, GOOD, Rollback, deployment, rejected

TOKEN = "t0ken-of-the-robot"
SECRET = {"username": b"robot", "password": b"over-git", "token": TOKEN.encode() + b"\n"}
HEAD = "weir/put-back/models-chat-v2-0123"
QUOTED = quote(HEAD, safe="")
HEADERS: dict[Provider, dict[str, str]] = {
    "github": {
        "Authorization": f"Bearer {TOKEN}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    },
    "gitlab": {"PRIVATE-TOKEN": TOKEN},
    "gitea": {"Authorization": f"token {TOKEN}"},
}
LOOK: dict[Provider, str] = {
    "github": f"/repos/apps/pulls?head=apps%3A{QUOTED}&base=main&state=all",
    "gitlab": f"/projects/apps/merge_requests?source_branch={QUOTED}&target_branch=main&state=all",
    "gitea": f"/repos/apps/pulls/main/{QUOTED}",
}
OPEN: dict[Provider, str] = {
    "github": "/repos/apps/pulls",
    "gitlab": "/projects/apps/merge_requests",
    "gitea": "/repos/apps/pulls",
}
PAGE = "https://git.example.org/acme/apps/pull/7"
PROVIDERS: tuple[Provider, ...] = ("github", "gitlab", "gitea")


def none(provider: Provider) -> Exchange:
    if provider == "gitea":
        return Exchange("GET", LOOK[provider], 404, {"message": "pull request does not exist", "url": "/api/swagger"})
    return Exchange("GET", LOOK[provider], 200, [])


def one(provider: Provider, state: str = "open") -> dict[str, Any]:
    if provider == "gitlab":
        states = {"open": "opened"}
        merged = "2026-01-02T00:00:00Z" if state == "merged" else None
        return {"iid": 7, "state": states.get(state, state), "merged_at": merged, "web_url": PAGE}
    shown = "open" if state == "open" else "closed"
    merged_at = "2026-01-02T00:00:00Z" if state == "merged" else None
    return {"number": 7, "state": shown, "merged_at": merged_at, "html_url": PAGE}


def there(provider: Provider, state: str) -> Exchange:
    found = one(provider, state)
    return Exchange("GET", LOOK[provider], 200, found if provider == "gitea" else [found])


def opened(provider: Provider, commit: str, status: int = 201, answer: Any = None) -> Exchange:
    title, _, text = commit_message("models/chat", "chat", [rejected()], commit).partition("\n\n")
    body: dict[str, Any] = {"head": HEAD, "base": "main", "title": title, "body": text}
    if provider == "gitlab":
        body = {"source_branch": HEAD, "target_branch": "main", "title": title, "description": text}
        body["remove_source_branch"] = True
    return Exchange("POST", OPEN[provider], status, answer or one(provider), body)


def policy(provider: Provider, api: RecordedApi, **changes: Any) -> Policy:
    given = msgspec.structs.replace(COMMIT, mode="pull-request", provider=provider, api=api.url)
    return msgspec.structs.replace(given, **changes)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_branch_is_pushed_and_a_pull_request_opened_once(rollback: Rollback, provider: Provider) -> None:
    bad = rollback.git.commit({"chat.yaml": deployment(BAD)})
    exchanges = [none(provider), opened(provider, bad), there(provider, "open")]
    async with RecordedApi(exchanges, HEADERS[provider]) as api:
        written = await rollback.write(policy=policy(provider, api), secret=SECRET)
        assert (written.state, written.url, written.branch) == ("proposed", PAGE, HEAD)
        assert (written.proposal, written.settled) == ("open", False)
        assert rollback.git.head() == bad, "nobody pushes to the branch that is followed"
        assert rollback.git.read("chat.yaml", branch=HEAD).decode() == deployment(GOOD)
        assert await rollback.write(policy=policy(provider, api), secret=SECRET) == written


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("state", ["merged", "closed"])
async def test_what_people_have_decided_stays(rollback: Rollback, provider: Provider, state: str) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    async with RecordedApi([there(provider, state)], HEADERS[provider]) as api:
        written = await rollback.write(policy=policy(provider, api), secret=SECRET)
    assert f"pull request {PAGE} is {state}" in written.text
    assert (written.proposal, written.settled) == (state, True)
    assert set(rollback.git.refs) == {"refs/heads/main"}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_process_that_died_after_the_push_goes_on(rollback: Rollback, provider: Provider) -> None:
    bad = rollback.git.commit({"chat.yaml": deployment(BAD)})
    unwell = Exchange("POST", OPEN[provider], 502, {"message": "bad gateway"})
    async with RecordedApi([none(provider), unwell], HEADERS[provider]) as api:
        with pytest.raises(ForgeError, match="answered 502 for apps: bad gateway"):
            await rollback.write(policy=policy(provider, api), secret=SECRET)
    pushed = rollback.git.head(HEAD)
    async with RecordedApi([none(provider), opened(provider, bad)], HEADERS[provider]) as api:
        written = await rollback.write(policy=policy(provider, api), secret=SECRET)
    assert (written.state, rollback.git.head(HEAD)) == ("proposed", pushed)


@pytest.mark.parametrize(("provider", "status"), [("github", 422), ("gitlab", 409), ("gitea", 409)])
async def test_somebody_was_quicker_to_open_it(rollback: Rollback, provider: Provider, status: int) -> None:
    bad = rollback.git.commit({"chat.yaml": deployment(BAD)})
    taken = opened(provider, bad, status, {"message": "A pull request already exists"})
    async with RecordedApi([none(provider), taken, there(provider, "open")], HEADERS[provider]) as api:
        written = await rollback.write(policy=policy(provider, api), secret=SECRET)
    assert written.url == PAGE
    again = [there(provider, "open")]
    async with RecordedApi(again, HEADERS[provider]) as api:
        assert (await rollback.write(policy=policy(provider, api), secret=SECRET)).url == PAGE


async def test_a_branch_of_that_name_with_other_work_is_not_touched(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    theirs = rollback.git.commit({"x": "mine"}, "My work\n", branch=HEAD)
    async with RecordedApi([none("github")], HEADERS["github"]) as api:
        with pytest.raises(Unlocatable, match="holds what is not Weir's"):
            await rollback.write(policy=policy("github", api), secret=SECRET)
    assert rollback.git.head(HEAD) == theirs


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("github", "/repos/apps/branches/main"),
        ("gitlab", "/projects/apps/repository/branches/main"),
        ("gitea", "/repos/apps/branches/main"),
    ],
)
async def test_a_protected_branch_is_only_pushed_to_if_that_is_said(
    rollback: Rollback, provider: Provider, path: str
) -> None:
    head = rollback.git.commit({"chat.yaml": deployment(BAD)})
    said = Exchange("GET", path, 200, {"name": "main", "protected": True})
    async with RecordedApi([said], HEADERS[provider]) as api:
        asked = policy(provider, api, mode="commit")
        with pytest.raises(PolicyError, match="main is protected: use pull-request, or set"):
            await rollback.write(policy=asked, secret=SECRET)
        assert rollback.git.head() == head
        allowed = msgspec.structs.replace(asked, protected=True)
        assert (await rollback.write(policy=allowed, secret=SECRET)).state == "committed"


async def test_no_token_is_sent_elsewhere_or_shown(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    quoting = Exchange("GET", LOOK["github"], 403, {"message": f"bad credentials {TOKEN}"})
    async with RecordedApi([quoting], HEADERS["github"]) as api:
        with pytest.raises(ForgeError, match="bad credentials") as caught:
            await rollback.write(policy=policy("github", api), secret=SECRET)
        assert TOKEN not in caught.value.message
    moved = Exchange("GET", LOOK["github"], 302, None)
    async with RecordedApi([moved], HEADERS["github"]) as api:
        with pytest.raises(ForgeError, match="answered 302"):
            await rollback.write(policy=policy("github", api), secret=SECRET)
    async with RecordedApi([], {}) as api:
        with pytest.raises(PolicyError, match="models/writer has no `token`"):
            await rollback.write(policy=policy("github", api), secret={})
    with pytest.raises(ForgeError, match="cannot be reached"):
        await rollback.write(policy=policy("github", api), secret=SECRET)


@pytest.mark.parametrize(
    ("kind", "url", "api", "where"),
    [
        ("github", "https://github.com/acme/apps.git", "", ("acme/apps", "https://api.github.com")),
        ("github", "https://git.corp/acme/apps", "", ("acme/apps", "https://git.corp/api/v3")),
        ("gitlab", "ssh://git@gitlab.com:2222/a/b/apps.git", "", ("a/b/apps", "https://gitlab.com/api/v4")),
        ("gitea", "http://git.corp:3000/acme/apps.git", "", ("acme/apps", "http://git.corp:3000/api/v1")),
        ("gitea", "ssh://git@git.corp/acme/apps", "https://x/api/v1", ("acme/apps", "https://x/api/v1")),
    ],
)
def test_where_the_api_is(kind: str, url: str, api: str, where: tuple[str, str]) -> None:
    found = Where.of(kind, url, api)
    assert (found.path, found.api) == where


def test_a_project_in_groups_is_one_part_of_the_path() -> None:
    where = Where.of("gitlab", "https://gitlab.com/a/b/apps.git")
    assert looking(where, "h/1", "main").url == (
        "https://gitlab.com/api/v4/projects/a%2Fb%2Fapps/merge_requests?source_branch=h%2F1&target_branch=main&state=all"
    )
