"""Flux reference, section 9: an artifact as source-controller 1.9 packed it, beside ours of the same commit."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from tests.scenarios.conformance.flux_source import downloaded, stored
from tests.scenarios.conftest import RunningAgent, Story
from tests.scenarios.foreign_sources import file_server, publish

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {greeting: recorded}\n"
TREE = {
    "a.yaml": "a: 1\n",
    "bin/run.sh": "#!/bin/sh\n",
    "deep/.sourceignore": "*.md\n",
    "deep/readme.md": "no\n",
    "deep/er/x.txt": "x\n",
    "other/readme.md": "yes\n",
    "photo.jpg": "jpg",
    ".github/w.yaml": "w: 1\n",
    ".gitignore": "a\n",
    "b-side/z.yaml": "z: 1\n",
    "b/y.yaml": CONFIG,
}
RECORDED = base64.b64decode(
    "H4sIAAAAAAAA/+yZQY+bMBCFOedXUPVWqTB2wEhce+61d7N2wW0xyDjdZKv971WyqVSRqhGpZrYR811ILnmEl3kzGWcJPgAAVQmn"
    "K8DF9Q+vK1mqJC0J7i3ZTVGHBOBfP2f+5e6ErHWx2zWoGov9F1Aowf5TcPY/f8wOuv+Go3F8HurS9988L2f+C6VkkpI8xJX7/1in"
    "YvPaN8G8Ghqx7n+xvP5BVgXXPwWa63/V4E5+Lyye/6DaFpLnPwqa/IDeAa7lvxBqnv9lCZz/FOjRfbJhcoOv0+9i89V5U6cfBv/Z"
    "tR/1uOlt1EZHXac/vO5tnR6eN+f3bbA2Ot/WabAPQzDWPHMjuTua95MzFldjcf4LkKrg/Kfgxf/8CbMJLJ//RVFx/pPwxPP/qmmc"
    "R9e4Yf5XFe9/SWicz8POZ1OHp3Hy/2/5L+Q8/6GqOP8pePsmP/4Epo6bwCox1o7YGovzXwBs+fyXhKP/eTYNu/BgXeuHgPBfEBbP"
    "/1IJPv8j4V3WG47+9XKqfxtQNW7I/6Lg/Q8JZ//zfRb3EUnjev5fzP+l5P0PCXsO/1UzxA45/W/b//P5Lw0n//Ngtelt1hsUjev5"
    "X8znf1C8/yHhYCfuACtm7IY4ZF/GFlHjev1vL/a/UnD9U4DrPMMwDPO/8jMAAP//kj3DxgA4AAA="
)
"""What source-controller served for `TREE` with a link `link` to `a.yaml`."""
DIGEST = "sha256:22d50d3322e9999ba2e7ecd8186d1f21e43eac04ec9ca9c88de755d8a1b0a009"
REVISION = "main@sha1:419beede564228ca9bb70664f887e129c472ac88"


def entries(archive: bytes) -> list[tuple[object, ...]]:
    """Everything that an archive says of its entries, in their order, with the content."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        return [
            (
                *(one.name, one.type, oct(one.mode), one.size, one.mtime),
                *(one.uid, one.gid, one.uname, one.gname, one.linkname, one.pax_headers),
                (opened.extractfile(one) or io.BytesIO()).read(),
            )
            for one in opened.getmembers()
        ]


async def test_ours_has_the_same_entries_in_the_same_order(story: Story) -> None:
    story.git.commit(TREE, executable=("bin/run.sh",), symlinks={"link": "a.yaml"})
    await story.source()
    assert entries(await downloaded(await stored(story))) == entries(RECORDED)


async def test_theirs_is_built_from(story: Story, own_agent: OwnAgent) -> None:
    assert f"sha256:{hashlib.sha256(RECORDED).hexdigest()}" == DIGEST
    async with file_server() as files, own_agent(controllers=("kustomize",)):
        path = f"gitrepository/{story.namespace}/repo/{REVISION[-40:]}.tar.gz"
        files.files[f"/{path}"] = RECORDED
        await publish(story, "GitRepository", REVISION, name="repo", url=f"http://{files.host}/{path}", digest=DIGEST)
        await story.kustomization(path="./b")
        ready = await story.ready(revision=REVISION)
        applied = await story.admin.get("v1", "ConfigMap", story.namespace, "y")
    assert ready["status"]["lastAppliedRevision"] == REVISION
    assert applied["data"] == {"greeting": "recorded"}
