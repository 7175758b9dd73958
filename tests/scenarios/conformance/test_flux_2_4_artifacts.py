"""Flux reference 2.4: what is in an archive, where it is, how long it stays, and that it is what it was."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from testbed.processes import until
from tests.scenarios.conformance.flux_source import downloaded, files, looked, members, stored
from tests.scenarios.conftest import PATIENCE, REPO, RunningAgent, Story, conditions

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]


def archive_of(agent: RunningAgent, source: dict[str, object]) -> Path:
    """The file of an artifact, on the agent's disk."""
    status = source["status"]
    assert isinstance(status, dict)
    return agent.log.parent / "artifacts" / status["artifact"]["path"]


async def test_the_layout_of_an_archive(story: Story, weir: RunningAgent) -> None:
    commit = story.git.commit(
        {"b/run.sh": "#!/bin/sh\n", "a.yaml": "a: 1", "b/c/d.yaml": "x", ".gitignore": "x", "z/.gitattributes": "x"},
        executable=("b/run.sh",),
        symlinks={"link.yaml": "a.yaml", "out": "/etc/passwd"},
    )
    await story.source()
    source = await stored(story)
    artifact = source["status"]["artifact"]
    packed = await downloaded(source)
    assert artifact["path"] == f"gitrepository/{story.namespace}/repo/{commit}.tar.gz"
    assert artifact["url"].endswith(f"/{artifact['path']}")
    assert artifact["digest"] == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert artifact["size"] == len(packed)
    found = members(packed)
    assert [(one.name, one.mode) for one in found] == [
        (".", 0o750),
        ("a.yaml", 0o600),
        ("b", 0o750),
        ("b/c", 0o750),
        ("b/c/d.yaml", 0o600),
        ("b/run.sh", 0o700),
        ("z", 0o750),
    ]
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in found} == {(0, 0, "", "", 0)}
    # Neither a name nor a time in gzip's own header, and no slash behind the root.
    assert packed[3:8] == bytes(5)
    assert gzip.decompress(packed)[:2] == b".\0"
    assert archive_of(weir, source).with_name(f"{commit}.tar.gz.lock").exists()


async def test_the_same_tree_gives_the_same_archive(story: Story) -> None:
    content = {f"{name}/c.yaml": name for name in "abc"}
    story.git.commit(content)
    other = story.server.repository(f"{story.namespace}-other")
    other.commit({"unlike.yaml": "x"})
    other.commit({"unlike.yaml": None, **content}, "another message, another time\n")
    await story.source()
    await story.source("other", url=story.server.url(f"{story.namespace}-other"))
    one, two = await stored(story), await stored(story, "other")
    assert one["status"]["artifact"]["digest"] == two["status"]["artifact"]["digest"]
    assert one["status"]["artifact"]["revision"] != two["status"]["artifact"]["revision"]


async def test_any_rule_switches_the_second_group_of_exclusions_off(story: Story) -> None:
    story.git.commit(
        {
            **dict.fromkeys(("a.yaml", "logo.png", "b.tar.gz", ".travis.yml", ".github/w.yaml", "x/.sops.yaml"), "x"),
            **dict.fromkeys((".gitmodules", "x/.gitignore"), "x"),
        }
    )
    await story.source()
    assert await files(await stored(story)) == ["a.yaml"]
    await story.source(ignore="nothing-of-that-name\n")
    everything = [".github/w.yaml", ".travis.yml", "a.yaml", "b.tar.gz", "logo.png", "x/.sops.yaml"]
    assert await files(await stored(story)) == everything
    await story.source(ignore="# only a comment\n")
    assert await files(await stored(story)) == ["a.yaml"]
    story.git.commit({"x/.sourceignore": "*.md\n", "x/r.md": "x", "r.md": "x"})
    await looked(story, "nested")
    assert await files(await stored(story)) == [
        *everything[:3],
        "b.tar.gz",
        "logo.png",
        "r.md",
        "x/.sops.yaml",
        "x/.sourceignore",
    ]


@pytest.mark.parametrize("algorithm", ["sha384", "sha512", "blake3"])
async def test_the_algorithm_of_digests_is_a_flag(story: Story, own_agent: OwnAgent, algorithm: str) -> None:
    story.git.commit({"c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"})
    await story.source()
    await story.kustomization()
    async with own_agent(artifact_digest_algo=algorithm):
        source = await stored(story)
        assert source["status"]["artifact"]["digest"].startswith(f"{algorithm}:")
        await story.ready()
        again = await looked(story, "again")
        assert again["status"]["artifact"] == source["status"]["artifact"]


async def test_a_spoilt_archive_is_told_of_and_packed_again(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    source = await stored(story)
    file = archive_of(weir, source)
    file.write_bytes(b"spoilt")
    again = await looked(story, "spoilt")
    digest = source["status"]["artifact"]["digest"]
    words = f"failed to verify integrity of artifact: computed digest doesn't match '{digest}'"
    assert await story.event("repo", words) == f"ArtifactVerificationFailed: {words}"
    assert again["status"]["artifact"]["digest"] == digest
    assert members(await downloaded(again))[1].name == "a.yaml"
    file.unlink()
    again = await looked(story, "missing")
    assert file.is_file()
    assert conditions(again)["ArtifactInStorage"][0] == "True"


async def test_an_archive_is_made_again_without_the_repository(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    source = await stored(story)
    file = archive_of(weir, source)
    file.unlink()
    away = story.git.path.with_suffix(".away")
    story.git.path.rename(away)
    await story.pull("away")
    failed = await story.failed("repo", "not found", REPO)
    assert failed["status"]["artifact"]["digest"] == source["status"]["artifact"]["digest"]

    async def packed() -> bool:
        return file.is_file()

    await until(packed, timeout=PATIENCE, what="the archive is there again")
    away.rename(story.git.path)


async def test_a_folder_that_cannot_be_written(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    place = weir.log.parent / "artifacts/gitrepository" / story.namespace
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file where the folder should be")
    await story.source()
    failed = await story.failed("repo", "failed to create artifact directory: ", REPO)
    told = conditions(failed)
    assert told["StorageOperationFailed"][:2] == ("True", "DirectoryCreationFailed")
    assert told["Ready"][1] == "DirectoryCreationFailed"
    assert "FetchFailed" not in told
    place.unlink()
    await story.pull("room")
    source = await stored(story)
    assert "StorageOperationFailed" not in conditions(source)
    commit = story.git.commit({"a.yaml": "a: 2"})
    (place / "repo" / f"{commit}.tar.gz").mkdir()
    await story.pull("taken")
    failed = await story.failed("repo", "unable to archive artifact to storage: ", REPO)
    told = conditions(failed)
    assert told["StorageOperationFailed"][1] == "ArchiveOperationFailed"
    assert told["ArtifactOutdated"] == ("True", "NewRevision", f"new upstream revision 'main@sha1:{commit}'")
    assert failed["status"]["artifact"] == source["status"]["artifact"]
    (place / "repo" / f"{commit}.tar.gz").rmdir()
    await story.pull("free")
    assert "ArtifactOutdated" not in conditions(await stored(story, revision=commit))


async def test_old_archives_go_and_the_address_follows_the_flag(story: Story, own_agent: OwnAgent) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    async with own_agent(artifact_retention_records=2, artifact_retention_ttl=3600.0) as agent:
        folder = agent.log.parent / "artifacts/gitrepository" / story.namespace / "repo"
        commits = []
        for number in range(4):
            commits.append(story.git.commit({"a.yaml": f"a: {number}"}))
            await story.pull(str(number))
            await stored(story, revision=commits[-1])
        await looked(story, "collect")
        assert sorted(one.name for one in folder.glob("*.tar.gz")) == sorted(f"{one}.tar.gz" for one in commits[-2:])
        assert len(list(folder.glob("*.lock"))) == 2
        assert await story.event("repo", "GarbageCollectionSucceeded: garbage collected 1 artifacts")
        path = (await looked(story, "same"))["status"]["artifact"]["path"]
    async with own_agent(storage_adv_addr="https://sources.example.org", artifact_retention_ttl=0.0) as agent:
        moved = await story.until(
            REPO, "repo", lambda found: "example.org" in (found or {})["status"]["artifact"]["url"]
        )
        assert moved["status"]["artifact"]["url"] == f"https://sources.example.org/{path}"
        await looked(story, "expired")
        assert [one.name for one in folder.glob("*.tar.gz")] == [f"{commits[-1]}.tar.gz"]
        await story.admin.delete(*REPO, story.namespace, "repo")
        await story.until(REPO, "repo", lambda found: found is None)
        assert not folder.exists()


async def test_archives_on_disk_are_for_nobody_else_to_write(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"a.yaml": "a: 1"})
    await story.source()
    mode = os.stat(archive_of(weir, await stored(story))).st_mode  # noqa: PTH116 - plain bits
    assert not mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_IXUSR)
