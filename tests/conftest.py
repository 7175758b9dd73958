"""Fixtures that more than one folder of tests uses."""

import ast
import functools
import gc
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from testbed.controlplane import ControlPlane
from testbed.gitlfs import GitLfs, git_lfs
from testbed.kube import Admin, ApiError, UnknownKindError
from tests.shaking import shake

# How long an example takes says something of the machine, not of the code; and a run is like the one before it.
# `--hypothesis-profile=search` tries other examples each time.
settings.register_profile("weir", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("weir"), derandomize=False, max_examples=1000)
settings.load_profile("weir")


def _undisturbed(parse: Callable[..., Any]) -> Callable[..., Any]:
    """`ast.parse` with garbage collected before or after it, but never while it builds the tree.

    Where a finalizer parses something meanwhile (it is enough that it formats a traceback, in which a piece of the line
    is marked), some releases of Python 3.11 and 3.12 end the outer one with a SystemError, "AST constructor recursion
    depth mismatch": both count in the same place (python/cpython#106905).
    """
    alone = threading.RLock()

    @functools.wraps(parse)
    def undisturbed(*args: Any, **options: Any) -> Any:
        with alone:
            collects = gc.isenabled()
            gc.disable()
            try:
                return parse(*args, **options)
            finally:
                if collects:
                    gc.enable()

    return undisturbed


if sys.version_info < (3, 13):
    ast.parse = _undisturbed(ast.parse)

OURS = (
    ("flagger.app/v1beta1", "Canary"),
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("source.toolkit.fluxcd.io/v1", "GitRepository"),
)
"""Kinds that an agent works on, in the order in which they can go."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios come last, in whatever order folders are named: the agent that they share works on all Canaries."""
    scenarios = Path(__file__).with_name("scenarios")
    items.sort(key=lambda item: scenarios in item.path.parents)


@pytest.fixture(scope="session", autouse=True)
def _shaken() -> Iterator[None]:
    """Random delays for who looks for races."""
    with pytest.MonkeyPatch.context() as patch:
        if asked := os.environ.get("WEIR_SHAKE"):
            shake(asked, patch)
        yield


@pytest.fixture(scope="session")
async def lfs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitLfs]:
    """A Git LFS server."""
    async with git_lfs(tmp_path_factory.mktemp("git-lfs")) as running:
        yield running


@pytest.fixture(scope="session")
async def control_plane() -> AsyncIterator[ControlPlane]:
    """A real control plane, started for the first test that asks for it and shared by the session."""
    async with ControlPlane() as running:
        yield running


@pytest.fixture(scope="session")
async def admin(control_plane: ControlPlane) -> AsyncIterator[Admin]:
    """A client of the shared control plane that may do everything."""
    async with Admin(control_plane.url, control_plane.ca_file, control_plane.admin_token) as client:
        yield client


@pytest.fixture
async def namespace(admin: Admin) -> AsyncIterator[str]:
    """The name of a fresh namespace whose default ServiceAccount exists.

    After the test it is deleted, which takes its time. What an agent works on is gone at once, so that the agent of a
    later test finds nothing to do there.
    """
    name = f"test-{secrets.token_hex(4)}"
    await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await admin.wait_for("v1", "ServiceAccount", name, "default", lambda found: found is not None)
    yield name
    for api_version, kind in OURS:
        await _clear(admin, api_version, kind, name)
    await admin.delete("v1", "Namespace", None, name, missing_ok=True)


async def _clear(admin: Admin, api_version: str, kind: str, namespace: str) -> None:
    """Delete all objects of a kind although the agent that their finalizers wait for has ended."""
    try:
        left = await admin.list(api_version, kind, namespace)
    except UnknownKindError:
        return
    except ApiError as refused:
        if refused.status == 404:  # the kind was known, and a test has removed it
            return
        raise
    for found in left:
        name = found["metadata"]["name"]
        await admin.delete(api_version, kind, namespace, name, missing_ok=True)
        try:
            await admin.patch(api_version, kind, namespace, name, {"metadata": {"finalizers": None}})
        except ApiError as refused:
            if refused.status != 404:
                raise
        await admin.wait_for(api_version, kind, namespace, name, lambda obj: obj is None)
