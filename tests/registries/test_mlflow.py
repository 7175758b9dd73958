"""A registry of MLflow as it is, whose models lie in an S3."""

from __future__ import annotations

import hashlib

import pytest

from agent.adapters.registries import Access
from agent.adapters.registries.access import RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.mlflow import look_up
from agent.core.models import Ref, parse
from testbed.aws import REGION, Aws
from testbed.mlflow import ADMINISTRATOR, Mlflow
from tests.registries.registry_servers import Asking


class Models:
    """Asks the registry about models whose files are in the bucket ``models``, as somebody who may read all of them."""

    def __init__(self, registered: Mlflow, store: Aws, ask: Asking, login: Access, keys: tuple[str, str]) -> None:
        self.registered = registered
        self.login: Access | None = login
        self._store = store
        self._ask = ask
        self._bucket = Access(store.url, {"accessKey": keys[0], "secretKey": keys[1], "region": REGION}, scope=keys[0])

    async def files(self, key: str, content: bytes) -> str:
        """Store a file; its address."""
        await self._store.put("models", key, content, checksum=True)
        return f"s3://models/{key}"

    async def about(self, spelling: str) -> Ref:
        """What a reference means now."""
        return await self._ask.resolver.resolve(
            parse(spelling), lambda ref: self._bucket if ref.scheme == "s3" else self.login, ttl=0
        )

    async def told(self, spelling: str) -> tuple[str | None, str, str | None]:
        """Version, digest, and why they are not known."""
        ref = await self.about(spelling)
        return ref.identity.version if ref.identity else None, str(ref.digest or ""), ref.unresolved


@pytest.fixture(scope="module")
async def reader(registered: Mlflow, store: Aws) -> tuple[Access, tuple[str, str]]:
    """Somebody who may read all models and files."""
    return as_user(registered, await registered.user("reader")), await store.user("reader")


@pytest.fixture
async def models(registered: Mlflow, store: Aws, ask: Asking, reader: tuple[Access, tuple[str, str]]) -> Models:
    return Models(registered, store, ask, *reader)


def as_user(registered: Mlflow, login: tuple[str, str]) -> Access:
    return Access(registered.url, {"username": login[0], "password": login[1]}, scope=repr(login))


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def test_an_alias_that_moves_to_another_version(models: Models) -> None:
    name = "text to SQL, 7B"
    await models.registered.model(name)
    first = await models.registered.version(name, await models.files("sql/1/w", b"one"))
    second = await models.registered.version(name, await models.files("sql/2/w", b"two"))
    await models.registered.alias(name, "champion", first)
    assert await models.told(f"models:/{name}@champion") == (first, sha256(b"one"), None)
    await models.registered.alias(name, "champion", second)
    assert await models.told(f"models:/{name}@champion") == (second, sha256(b"two"), None)
    assert await models.told(f"models:/{name}/{first}") == (first, sha256(b"one"), None)
    await models.registered.delete_alias(name, "champion")
    # what was known stays known beside the reason why it is no longer
    assert (await models.about(f"models:/{name}@champion")).unresolved == "not-found"


async def test_a_name_that_looks_like_one_of_unity_catalog(models: Models) -> None:
    await models.registered.model("a.b.c")
    version = await models.registered.version("a.b.c", await models.files("dotted/w", b"dotted"))
    await models.registered.alias("a.b.c", "champion", version)
    for spelling in (f"models:/a.b.c/{version}", "models:/a.b.c@champion", "models:/a.b.c/latest"):
        assert await models.told(spelling) == (version, sha256(b"dotted"), None)


async def test_the_newest_version_and_that_of_a_stage(models: Models) -> None:
    await models.registered.model("staged")
    source = await models.files("staged/w", b"weights")
    versions = [await models.registered.version("staged", source) for _ in range(10)]
    await models.registered.stage("staged", versions[8], "Production")
    await models.registered.stage("staged", versions[6], "Production")
    assert await models.told("models:/staged/Production") == ("9", sha256(b"weights"), None)
    assert await models.told("models:/staged/latest") == ("10", sha256(b"weights"), None)
    assert await models.told("models:/staged@latest") == ("10", sha256(b"weights"), None)
    for spelling in ("models:/staged/Staging", "models:/staged/Prodution"):
        assert await models.told(spelling) == (None, "", "not-found")


async def test_a_version_is_followed_over_its_logged_model_to_its_files(models: Models) -> None:
    experiment = await models.registered.experiment("training", "s3://models/training")
    run, below_run = await models.registered.run(experiment)
    logged, below_logged = await models.registered.logged_model(experiment, run)
    for place, content in ((below_run, b"of the run"), (below_logged, b"logged")):
        await models.files(f"{place.removeprefix('s3://models/')}/model.bin", content)
    await models.registered.model("trained")
    version = await models.registered.version("trained", f"models:/{logged}", run=run, logged=logged)
    of_run = await models.registered.version("trained", f"runs:/{run}/model.bin", run=run)
    found = await models.about(f"models:/trained/{version}")
    assert found.identity is not None
    assert (found.identity.version, found.identity.revision, found.unresolved) == (version, run, None)
    assert found.size is not None
    assert (found.size.bytes, found.size.files) == (6, 1)
    assert await models.told(f"models:/{logged}/model.bin") == (logged, sha256(b"logged"), None)
    assert await models.told(f"runs:/{run}/model.bin") == (None, sha256(b"of the run"), None)
    assert await models.told(f"models:/trained/{of_run}") == (of_run, sha256(b"of the run"), None)


async def test_files_that_the_registry_gives_out_itself_have_a_size(models: Models) -> None:
    run, below_run = await models.registered.run(await models.registered.experiment("proxied"))
    assert below_run.startswith("mlflow-artifacts:/")
    await models.registered.upload(f"{below_run}/model/MLmodel", b"flavors: {}")
    await models.registered.upload(f"{below_run}/model/data/a weight+.bin", b"weights")
    await models.registered.model("proxied")
    version = await models.registered.version("proxied", f"{below_run}/model", run=run)
    for spelling, known in (
        (f"models:/proxied/{version}", version),
        (f"runs:/{run}/model", None),
        (f"{below_run}/model", None),
    ):
        ref = await models.about(spelling)
        assert ref.identity is not None
        assert ref.size is not None
        assert (ref.identity.version, ref.digest, ref.unresolved) == (known, None, None)
        assert (ref.size.bytes, ref.size.files) == (18, 2)
    assert await models.told(f"{below_run}/gone") == (None, "", "not-found")


async def test_what_the_registry_does_not_have(models: Models) -> None:
    await models.registered.model("empty")
    version = await models.registered.version("empty", "s3://models/empty")
    await models.registered.delete_version("empty", version)
    models.login = as_user(models.registered, ADMINISTRATOR)
    for spelling in (
        f"models:/empty/{version}",
        "models:/empty/latest",
        "models:/empty@champion",
        "models:/unknown/1",
        "models:/unknown@champion",
        "models:/unknown/Production",
        f"models:/m-{'0' * 32}",
        f"runs:/{'0' * 32}/model",
    ):
        assert (await models.about(spelling)).unresolved == "not-found", spelling


async def test_who_may_not_read(models: Models) -> None:
    await models.registered.model("closed")
    version = await models.registered.version("closed", await models.files("closed/w", b"closed"))
    user, password = await models.registered.user("stranger")
    await models.registered.forbid(user, "closed")
    for login in (
        Access(models.registered.url),
        as_user(models.registered, (user, "guessed")),
        as_user(models.registered, (user, password)),
    ):
        models.login = login
        assert (await models.about("models:/closed/latest")).unresolved == "auth"
        pinned = await models.about(f"models:/closed/{version}")
        assert (pinned.unresolved, pinned.digest) == (None, None)  # the version is in the text; its files are not known


async def test_a_registry_that_does_not_say_what_it_has(models: Models) -> None:
    """Whoever is not its administrator is refused what is not there, as what they may not read is."""
    assert (await models.about("models:/unknown@champion")).unresolved == "auth"
    assert models.login is not None
    async with Fetcher() as fetcher:
        with pytest.raises(RegistryError, match="or has no such model"):
            await look_up(fetcher, models.login, "models:/unknown@champion")
