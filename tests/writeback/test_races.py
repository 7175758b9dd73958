"""Others push, force, and processes die: what is in Git is never overwritten, and nothing is written twice."""

from pathlib import Path

import pygit2
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agent.adapters.git import GitOperationError
from agent.adapters.signatures import verify_ssh
from agent.controllers.writeback.locating import Moved
from agent.core.signedobject import signed_commit
from agent.core.writeback.policy import PolicyError
from agent.errors import OperationError
from testbed.git import GitHTTPServer
from tests.writeback.writeback_repository import BAD, GOOD, Rollback, deployment


def once(happens):
    """The first time only."""
    left = [happens]

    def meanwhile() -> None:
        if left:
            left.pop()()

    return meanwhile


async def test_a_process_that_died_after_the_push_finds_its_commit(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    first = await rollback.write()
    again = await rollback.write()
    assert again == first
    assert rollback.git.head() == first.commit


async def test_a_person_who_pushes_at_the_same_time_wins_and_is_built_upon(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    theirs: list[str] = []
    rollback.meanwhile = once(lambda: theirs.append(rollback.git.commit({"notes.md": "v2 is slow\n"}, "Notes\n")))
    written = await rollback.write()
    assert [str(parent) for parent in rollback.commit().parent_ids] == theirs
    assert written.commit == rollback.git.head()
    assert rollback.git.read("notes.md") == b"v2 is slow\n"
    assert rollback.git.read("chat.yaml").decode() == deployment(GOOD)


async def test_a_person_who_repairs_it_first_makes_it_pointless(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    repaired = deployment("hf://acme/chat@" + "3" * 40)
    theirs: list[str] = []
    rollback.meanwhile = once(lambda: theirs.append(rollback.git.commit({"chat.yaml": repaired})))
    with pytest.raises(Moved):
        await rollback.write()
    assert [rollback.git.head()] == theirs


async def test_a_forced_push_is_looked_at_anew(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment("hf://acme/chat@" + "0" * 40)})
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    theirs: list[str] = []
    rollback.meanwhile = once(
        lambda: theirs.append(rollback.git.force_push({"chat.yaml": deployment(BAD), "new.md": "rewritten\n"}))
    )
    written = await rollback.write()
    assert [str(parent) for parent in rollback.commit().parent_ids] == theirs
    assert (rollback.git.head(), rollback.git.read("new.md")) == (written.commit, b"rewritten\n")


async def test_a_branch_that_never_rests_is_left_for_later(rollback: Rollback) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    count = iter(range(100))
    rollback.meanwhile = lambda: rollback.git.commit({"busy": str(next(count))})
    with pytest.raises(OperationError, match="moved 5 times") as caught:
        await rollback.write()
    assert caught.value.reason == "WriteBackFailed"
    assert rollback.git.read("chat.yaml").decode() == deployment(BAD)


async def test_a_server_that_refuses_is_quoted_without_the_password(rollback: Rollback, tmp_path: Path) -> None:
    head = rollback.git.commit({"chat.yaml": deployment(BAD)})
    async with GitHTTPServer(tmp_path / "served", basic=("weir", "right-one")) as locked:
        with pytest.raises(GitOperationError) as caught:
            await rollback.write(url=locked.url("apps"), secret={"username": b"weir", "password": b"wrong-one"})
    assert "authentication required" in caught.value.message
    assert "wrong-one" not in caught.value.message
    assert rollback.git.head() == head


async def test_a_key_in_the_secret_signs(rollback: Rollback) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    head = rollback.git.commit({"chat.yaml": deployment(BAD)})
    with pytest.raises(PolicyError, match=r"takes signed commits only \(spec\.verify\): put a key into"):
        await rollback.write(verified=True)
    assert rollback.git.head() == head, "nothing that the source would refuse"
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    written = await rollback.write(secret={"git.ssh": text}, verified=True)
    signed = signed_commit(pygit2.Repository(str(rollback.git.path)).odb.read(written.commit)[1])
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert verify_ssh(signed.payload, signed.signature, [public])
    with pytest.raises(PolicyError, match="the key that signs write-backs"):
        await rollback.write(secret={"git.asc": b"rubbish"})
