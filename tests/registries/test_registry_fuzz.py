"""Whatever a registry answers, the one who asked gets a reference back, resolved or with a reason."""

from __future__ import annotations

import json
import random
from typing import Any, get_args

import pytest
from aiohttp import web

from agent.core.registries.outcome import Reason
from tests.registries.registry_servers import SPELLINGS, Asking, Registry, one_of

WORDS = (
    "objects",
    "oid",
    "error",
    "actions",
    "code",
    "sha",
    "items",
    "results",
    "pagination",
    "has_more",
    "model_version",
    "model_versions",
    "source",
    "version",
    "data",
    "project",
    "organization",
    "artifactCollectionMembership",
    "artifact",
    "model",
    "latestVersionIdStr",
    "modelVersion",
    "versionId",
    "filepath",
    "sha256_base64",
    "metaData",
    "files",
    "path",
    "is_dir",
    "artifactType",
    "uri",
    "commit",
    "hash",
    "FileStatuses",
    "FileStatus",
    "RemoteException",
    "id",
)
LEAVES: list[Any] = [None, True, -1, 10**30, 1.5, "", "a" * 40, "\ud800", "../..", [], {}, "s3://models/m", "models:/x"]


def value(chance: random.Random, depth: int = 0) -> Any:
    """Some JSON."""
    if depth > 3 or chance.random() < 0.4:
        return chance.choice(LEAVES)
    if chance.random() < 0.3:
        return [value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {chance.choice(WORDS): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def body(chance: random.Random) -> bytes:
    """JSON, broken JSON, XML or noise."""
    kind = chance.randrange(4)
    if kind == 0:
        return chance.randbytes(chance.randrange(200))
    if kind == 1:
        tag = chance.choice(["Contents", "Blob", "File", "Directory", "Name", "NextMarker", "Key", "Size"])
        return f"<L><{tag}>{chance.choice(['', '&lt;', '-5', 'é'])}</{tag}></L>".encode()
    text = json.dumps(value(chance)).encode()
    return text[: chance.randrange(len(text) + 1)] if kind == 2 else text


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_any_answer(server: Registry, ask: Asking, spelling: str) -> None:
    chance = random.Random(spelling)

    async def anything(_request: web.Request) -> web.Response:
        headers = {"ETag": '"x"'} if chance.random() < 0.3 else {}
        if chance.random() < 0.3:
            headers["Docker-Content-Digest"] = chance.choice(["sha256:x", f"sha256:{'a' * 64}", "md5:"])
        if spelling == "git" and chance.random() < 0.7:
            headers["Content-Type"] = "application/x-git-upload-pack-advertisement"
        if chance.random() < 0.2:
            headers["WWW-Authenticate"] = chance.choice(["", "Bearer", 'Bearer realm="x"', "Basic", "Bearer realm=,"])
        return web.Response(body=body(chance), status=chance.choice([200, 200, 200, 401, 404, 418]), headers=headers)

    server.fallback = anything
    for _ in range(60):
        ref = await one_of(server, ask, spelling, chance.randrange(10**6))
        assert ref.unresolved is None or ref.unresolved in get_args(Reason)
        assert ref.digest is None or ref.digest.value
    assert server.asked
