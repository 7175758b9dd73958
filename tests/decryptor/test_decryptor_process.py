"""The process behind a session: there when it is needed, gone with the build, shut off from what it does not need."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from agent.adapters.decryptor import Decryptor, Identity, Keys, Session, VaultLogin
from agent.adapters.renderer import BuildRequest, RendererPool
from agent.core.tree import MemoryTree
from agent.errors import BuildError
from testbed.sops import AgeKey, Sops
from tests.decryptor.identities import Nobody
from tests.renderer.sources import configmap, tree

TEXT = "user=ada\n"


def children(program: str) -> set[int]:
    """Processes of this test that run the program."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == program[:15] and int(rest.split()[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def decryptors() -> set[int]:
    return children("weir-decryptor")


class Asked(Nobody):
    """Calls something when the decryptor asks for a login."""

    def __init__(self, hook: Callable[[], None]) -> None:
        self.hook = hook

    def vault(self, address: str) -> VaultLogin:
        self.hook()
        raise BuildError("not trusted")


Sessions = Callable[..., Session]


@pytest.fixture
def sessions(decryptor: Decryptor, keys: Keys) -> Iterator[Sessions]:
    """Makes sessions, with the usual keys, which end with the test."""
    made: list[Session] = []

    def make(identity: Identity | None = None, *, using: Decryptor = decryptor, given: Keys = keys) -> Session:
        made.append(using.session(given, identity or Nobody()))
        return made[-1]

    yield make
    for session in made:
        session.close()


@pytest.fixture
async def vaulted(sops: Sops, key: AgeKey) -> str:
    """A text whose Vault key makes the decryptor ask who it is."""
    text = await sops.encrypt(TEXT, "a.env", age=[key])
    lines = [line for line in text.splitlines() if not line.startswith("sops_age")]
    entry = "sops_hc_vault__list_0__map_"
    vault = {"vault_address": "http://127.0.0.1:9", "engine_path": "transit", "key_name": "k", "enc": "vault:v1:x"}
    lines += [f"{entry}{name}={value}" for name, value in vault.items()]
    return "\n".join([*lines, f"{entry}created_at=2026-01-01T00:00:00Z", ""])


async def test_there_is_none_until_something_is_encrypted(renderer: RendererPool, sessions: Sessions) -> None:
    session = sessions()
    before = decryptors()
    await renderer.build(BuildRequest(), tree({"a.yaml": configmap("a")}), session)
    assert decryptors() == before


async def test_it_serves_one_build_and_knows_nothing_afterwards(
    renderer: RendererPool, sessions: Sessions, sops: Sops, key: AgeKey
) -> None:
    text = await sops.encrypt(TEXT, "a.env", age=[key])
    session = sessions()
    assert session.decrypt(text.encode(), "dotenv", "dotenv").decode() == TEXT
    (pid,) = decryptors()
    assert session.decrypt(text.encode(), "dotenv", "json") == b'{\n\t"user": "ada"\n}\n'
    assert decryptors() == {pid}
    session.close()
    assert decryptors() == set()
    with pytest.raises(BuildError, match="the decryption was stopped"):
        session.decrypt(text.encode(), "dotenv", "dotenv")
    other = sessions(given=Keys({}, "Secret 'other/keys'"))
    with pytest.raises(BuildError, match="there are no keys"):
        other.decrypt(text.encode(), "dotenv", "dotenv")


async def test_keys_are_in_no_argument_environment_or_file(
    sessions: Sessions, keys: Keys, sops: Sops, key: AgeKey, tmp_path: Path
) -> None:
    text = await sops.encrypt(TEXT, "a.env", age=[key])
    session = sessions()
    session.decrypt(text.encode(), "dotenv", "dotenv")
    (pid,) = decryptors()
    about = Path(f"/proc/{pid}")
    assert (about / "environ").read_bytes() == b""
    assert (about / "cmdline").read_bytes().split(b"\0")[1:] == [b"-memory=268435456", b""]
    opened = {str(link.readlink()) for link in (about / "fd").iterdir()}
    assert {name for name in opened if not name.startswith(("pipe:", "anon_inode:", "/sys/fs/cgroup/"))} == set()
    status = (about / "status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "AGE-SECRET" not in repr(keys) + repr(session)


async def test_the_system_keeps_it_from_files_and_programs(sessions: Sessions, vaulted: str) -> None:
    filters: list[str] = []

    def look() -> None:
        (pid,) = decryptors()
        filters.extend((task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir())

    session = sessions(Asked(look))
    with pytest.raises(BuildError, match="not trusted"):
        await asyncio.to_thread(session.decrypt, vaulted.encode(), "dotenv", "dotenv")
    assert filters
    assert all("Seccomp:\t2" in status for status in filters)


async def test_one_that_dies_is_an_error_of_that_build(sessions: Sessions, vaulted: str) -> None:
    session = sessions(Asked(lambda: os.kill(decryptors().pop(), signal.SIGKILL)))
    with pytest.raises(BuildError, match="the decryptor stopped: signal 9"):
        await asyncio.to_thread(session.decrypt, vaulted.encode(), "dotenv", "dotenv")


async def test_a_build_that_is_cancelled_ends_it(renderer: RendererPool, sessions: Sessions, vaulted: str) -> None:
    asked, answer = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hook() -> None:
        loop.call_soon_threadsafe(asked.set)
        answer.wait(10)

    files = {"kustomization.yaml": "secretGenerator: [{name: s, envs: [a.env]}]\n", "a.env": vaulted}
    session = sessions(Asked(hook))
    building = asyncio.create_task(renderer.build(BuildRequest(), tree(files), session))
    await asyncio.wait_for(asked.wait(), 60)
    building.cancel()
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert decryptors() == set()


async def test_the_next_build_does_not_hold_up_the_end_of_this_one(
    renderer: RendererPool, sessions: Sessions, sops: Sops, key: AgeKey
) -> None:
    encrypted = await sops.encrypt(TEXT, "a.env", age=[key])
    files = {"kustomization.yaml": "secretGenerator: [{name: s, envs: [a.env]}]\n", "a.env": encrypted}
    ended = threading.Event()

    class Held(MemoryTree):
        def read(self, path: str) -> bytes:
            assert ended.wait(20), "the build before has not ended"
            return super().read(path)

    first = asyncio.create_task(renderer.build(BuildRequest(), tree(files), sessions()))
    first.add_done_callback(lambda _: ended.set())
    await asyncio.sleep(0)
    second = await renderer.build(BuildRequest(), Held({"a.yaml": configmap("a").encode()}))
    assert len((await first).objects) == len(second.objects) == 1


async def test_a_program_that_is_missing_is_named(tmp_path: Path, sessions: Sessions) -> None:
    session = sessions(using=Decryptor(binary=tmp_path / "absent"))
    with pytest.raises(BuildError, match=r"the decryptor cannot be started: .*absent.*; installing the package"):
        session.decrypt(b"x", "dotenv", "dotenv")


async def test_memory_is_bounded(programs: Mapping[str, Path], sessions: Sessions, vaulted: str) -> None:
    def until_it_ends() -> None:
        os.waitid(os.P_PID, decryptors().pop(), os.WEXITED | os.WNOWAIT)

    session = sessions(Asked(until_it_ends), using=Decryptor(binary=programs["decryptor"], memory=8 << 20))
    with pytest.raises(BuildError, match="the decryptor stopped: exit status 3: out of memory"):
        await asyncio.to_thread(session.decrypt, vaulted.encode(), "dotenv", "dotenv")
