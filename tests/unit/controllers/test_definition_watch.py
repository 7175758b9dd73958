"""What is known of the definition of Canaries while the API server does not tell."""

import json

import pytest

from agent.adapters.kube.errors import ApiError, Forbidden, NotFound, Unavailable
from agent.controllers.canary.definition import DefinitionWatch


def document(*fields: str) -> bytes:
    schema = {
        "properties": {"status": {"properties": {name: {} for name in ("phase", *fields)}}},
        "x-kubernetes-group-version-kind": [{"group": "flagger.app", "kind": "Canary", "version": "v1beta1"}],
    }
    return json.dumps({"components": {"schemas": {"Canary": schema}}}).encode()


OURS, FLAGGERS = document("judge", "lastTrackedRevision"), document()
DROPPED = {"judge", "lastTrackedRevision"}


class Api:
    """A client and a clock."""

    def __init__(self, answer: bytes | ApiError) -> None:
        self.answer = answer
        self.now = 0.0
        self.asked = 0
        self.watch = DefinitionWatch(self, lambda: self.now)

    async def raw(self, method: str, path: str, *, resource: str) -> bytes:
        self.asked += 1
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("failure", [Unavailable("timeout"), Forbidden("no"), b"<html>"])
async def test_nothing_goes_on_before_the_definition_is_known(failure):
    api = Api(failure)
    for _ in range(2):
        with pytest.raises(ApiError, match="nothing is rolled out before that is known"):
            await api.watch.lacking()
    api.answer = FLAGGERS
    assert await api.watch.lacking() == DROPPED, "asked again at once"


@pytest.mark.parametrize("failure", [Unavailable("timeout"), NotFound("404 page not found"), b"<html>"])
@pytest.mark.parametrize(("known", "missing"), [(OURS, set()), (FLAGGERS, DROPPED)])
async def test_what_was_known_holds_through_a_failure_and_is_looked_at_soon(known, missing, failure):
    api = Api(known)
    assert await api.watch.lacking() == missing
    api.now, api.answer = 700.0, failure
    assert await api.watch.lacking() == missing
    api.now, api.answer = 714.0, OURS
    assert await api.watch.lacking() == missing
    assert api.asked == 2
    api.now = 716.0
    assert await api.watch.lacking() == set()
    assert api.asked == 3
    api.now += 599.0
    assert await api.watch.lacking() == set()
    assert api.asked == 3


@pytest.mark.parametrize("nothing", [NotFound("404 page not found"), b'{"components": {"schemas": {}}}'])
async def test_a_definition_that_is_not_published_yet_is_looked_for_soon(nothing):
    api = Api(nothing)
    assert await api.watch.lacking() == set()
    api.now, api.answer = 16.0, FLAGGERS
    assert await api.watch.lacking() == DROPPED
