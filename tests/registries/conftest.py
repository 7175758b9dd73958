"""A registry and somebody who asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from testbed.aws import Aws, aws
from testbed.mlflow import Mlflow, mlflow
from testbed.ociregistry import OciRegistry, oci_registry
from tests.registries.registry_servers import Asking, Registry, asking, registry


@pytest.fixture
async def server() -> AsyncIterator[Registry]:
    """A registry on loopback."""
    async with registry() as served:
        yield served


@pytest.fixture
async def ask(server: Registry) -> AsyncIterator[Asking]:
    """Asks that registry."""
    async with asking(server) as found:
        yield found


@pytest.fixture(scope="session")
async def artifacts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OciRegistry]:
    """A registry of artifacts."""
    async with oci_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aws]:
    """An S3 with a bucket that has no versions, and one that has some."""
    async with aws(tmp_path_factory.mktemp("aws")) as running:
        await running.bucket("models")
        await running.bucket("versions", versioned=True)
        yield running


@pytest.fixture(scope="session")
async def registered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mlflow]:
    """A registry of MLflow."""
    async with mlflow(tmp_path_factory.mktemp("mlflow")) as running:
        yield running
