"""Entries of policies become addresses and credentials, or a reason why nobody is asked."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from agent.adapters.identity import IdentityError, ServiceAccount
from agent.adapters.kube.errors import NotFound
from agent.adapters.registries import Access
from agent.adapters.registries.logins import LoggedIn, Wanted
from agent.adapters.registries.resolver import SCHEMES as RESOLVED
from agent.api.changepolicy import SCHEMES, ChangePolicy
from agent.controllers.registryaccess import RegistryAccess
from agent.controllers.workloadidentity import WorkloadAccounts
from agent.core.models import Ref, parse
from agent.core.registries.whom import entries_for

SECRETS = {"login": {"username": "me", "password": "secret"}, "docker": {".dockerconfigjson": "{}"}, "no-text": None}

POINTER = Ref(f"oid sha256:{'a' * 64}", "git-lfs", f"git-lfs:sha256:{'a' * 64}", True)


class Cluster:
    """Secrets."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, _resource: Any, namespace: str, name: str) -> dict[str, Any]:
        """The Secret, or NotFound."""
        self.asked.append(name)
        if name not in SECRETS:
            raise NotFound(f'secrets "{name}" not found')
        entries = SECRETS[name] or {"token": "\ud800"}
        data = {k: base64.b64encode(v.encode("utf-8", "surrogatepass")).decode() for k, v in entries.items()}
        return {"metadata": {"resourceVersion": "7"}, "data": data}


class Logins:
    """Lets everybody in but `evil`."""

    def __init__(self) -> None:
        self.asked: list[tuple[Wanted, ServiceAccount | None]] = []

    async def log_in(self, wanted: Wanted, account: ServiceAccount | None, _asker: Any) -> LoggedIn:
        """The login, or IdentityError."""
        self.asked.append((wanted, account))
        if account is not None and account.name == "evil":
            raise IdentityError("the role does not trust it")
        return LoggedIn({"token": "t"}, 0.0)


def policy(*registries: dict[str, Any]) -> ChangePolicy:
    spec = {"resolution": {"registries": list(registries)}}
    return ChangePolicy.from_object({"metadata": {"name": "rules", "namespace": "ml"}, "spec": spec})


async def reached(
    wanted: str | Ref, *registries: dict[str, Any], accounts: WorkloadAccounts | None = None, source: str = ""
) -> Access | None:
    access = RegistryAccess(Cluster(), Logins(), accounts or WorkloadAccounts(object_level=True))  # type: ignore[arg-type]  # duck-typed
    ref = parse(wanted) if isinstance(wanted, str) else wanted
    return (await access.prepared([policy(*registries)], [ref], source))(ref)


@pytest.mark.parametrize(
    ("spelling", "entry", "said"),
    [
        ("oci://r.example/m:1", {"scheme": "oci", "secretRef": {"name": "gone"}}, "Secret ml/gone is not there"),
        ("hf://org/m", {"scheme": "hf", "secretRef": {"name": "no-text"}}, "an entry is not text"),
        ("oci://r.example/m:1", {"scheme": "oci", "secretRef": {"name": "login"}}, "set the host that gets it"),
        ("https://a.example/m", {"scheme": "http", "secretRef": {"name": "login"}}, "set the host that gets it"),
        ("s3://b/m", {"scheme": "s3", "provider": "aws", "secretRef": {"name": "login"}}, "cannot be set"),
        ("s3://b/m", {"scheme": "s3", "provider": "aws", "endpoint": "http://x"}, "cannot be set"),
        ("s3://b/m", {"scheme": "s3", "provider": "azure"}, "provider azure is not for scheme s3"),
        ("s3://b/m", {"scheme": "s3", "provider": "aws", "serviceAccountName": "evil"}, "does not trust it"),
    ],
)
async def test_why_nobody_is_asked(spelling: str, entry: dict[str, Any], said: str) -> None:
    found = await reached(spelling, entry)
    assert found is not None
    assert found.refused is not None
    assert re.search(said, found.refused.message)
    assert not found.secret


@pytest.mark.parametrize(
    ("spelling", "entry"),
    [
        ("oci://r.example/m:1", {"scheme": "oci", "host": "r.example", "secretRef": {"name": "login"}}),
        ("oci://r.example/m:1", {"scheme": "oci", "endpoint": "http://r.here", "secretRef": {"name": "login"}}),
        ("oci://r.example/m:1", {"scheme": "oci", "secretRef": {"name": "docker"}}),
        ("s3://b/m", {"scheme": "s3", "provider": "generic", "secretRef": {"name": "login"}}),
        ("s3://b/m", {"scheme": "s3", "provider": "aws"}),
    ],
)
async def test_who_gets_credentials(spelling: str, entry: dict[str, Any]) -> None:
    found = await reached(spelling, entry)
    assert found is not None
    assert found.refused is None
    assert found.secret


async def test_a_repository_does_not_choose_who_gets_the_password_of_git_lfs() -> None:
    entry = {"scheme": "git-lfs", "secretRef": {"name": "login"}}
    found = await reached(POINTER, entry, source="http://evil.example/x")
    assert found is not None
    assert found.refused is not None
    assert "has a password and no endpoint: set the endpoint that gets it" in found.refused.message
    assert not found.secret
    entry["endpoint"] = "https://git.example/m.git/info/lfs"
    found = await reached(POINTER, entry, source="http://evil.example/x")
    assert found is not None
    assert (found.endpoint, found.refused) == ("https://git.example/m.git/info/lfs", None)
    assert found.secret
    found = await reached(POINTER, {"scheme": "git-lfs"}, source="http://lfs.example/x")
    assert found is not None
    assert (found.endpoint, found.refused) == ("http://lfs.example/x.git/info/lfs", None)


async def test_without_the_gate_no_service_account_logs_in() -> None:
    entry = {"scheme": "s3", "provider": "aws", "serviceAccountName": "loader"}
    found = await reached("s3://b/m", entry, accounts=WorkloadAccounts())
    assert found is not None
    assert found.refused is not None
    assert "ObjectLevelWorkloadIdentity" in found.refused.message


async def test_with_a_default_account_nobody_logs_in_as_the_agent() -> None:
    logins = Logins()
    access = RegistryAccess(Cluster(), logins, WorkloadAccounts(object_level=True, default="common"))  # type: ignore[arg-type]  # duck-typed
    await access.prepared([policy({"scheme": "s3", "provider": "aws"})], [parse("s3://b/m")])
    assert [account for _, account in logins.asked] == [ServiceAccount("ml", "common")]


@pytest.mark.parametrize(
    ("spelling", "entry"),
    [
        ("models:/m/1", {"scheme": "mlflow", "endpoint": "http://mlflow"}),
        ("model-registry://m/v1", {"scheme": "model-registry", "endpoint": "http://registry"}),
        ("delta://lake/t", {"scheme": "delta", "host": "lake", "remote": "s3://b/x"}),
        ("s3://b/t?versionAsOf=7", {"scheme": "delta"}),
    ],
)
async def test_entries_for_the_store_that_a_reference_leads_to_are_read(spelling: str, entry: dict[str, Any]) -> None:
    access = RegistryAccess(Cluster(), Logins(), WorkloadAccounts())  # type: ignore[arg-type]  # duck-typed
    rules = policy(entry, {"scheme": "s3", "host": "b", "secretRef": {"name": "login"}})
    access_for = await access.prepared([rules], [parse(spelling)])
    store = access_for(parse("s3://b/x/t"))
    assert access_for(parse(spelling)) is not None
    assert store is not None
    assert store.secret


@pytest.mark.parametrize(
    ("spelling", "entry"),
    [
        ("models:/m/1", {"scheme": "mlflow", "endpoint": "http://mlflow"}),
        ("model-registry://m/v1", {"scheme": "model-registry", "endpoint": "http://registry"}),
        ("delta://lake/t", {"scheme": "delta", "remote": "s3://b/x"}),
        ("dvc://m", {"scheme": "dvc", "remote": "s3://b/x"}),
    ],
)
async def test_answers_that_others_credentials_gave_are_not_shared(spelling: str, entry: dict[str, Any]) -> None:
    first = await reached(spelling, entry, {"scheme": "s3", "secretRef": {"name": "login"}})
    again = await reached(spelling, entry, {"scheme": "s3", "secretRef": {"name": "login"}})
    other = await reached(spelling, entry, {"scheme": "s3", "secretRef": {"name": "docker"}})
    nobody = await reached(spelling, entry)
    assert first is not None
    assert again is not None
    assert other is not None
    assert nobody is not None
    assert first.scope == again.scope
    assert len({first.scope, other.scope, nobody.scope}) == 3


def test_there_is_somebody_to_ask_for_every_entry() -> None:
    assert {entries_for(scheme) for scheme in RESOLVED} == set(SCHEMES)


async def test_only_what_is_needed_is_read() -> None:
    cluster = Cluster()
    access = RegistryAccess(cluster, Logins(), WorkloadAccounts())  # type: ignore[arg-type]  # duck-typed
    rules = policy(
        {"scheme": "hf", "secretRef": {"name": "login"}},
        {"scheme": "s3", "secretRef": {"name": "docker"}},
        {"scheme": "mlflow", "endpoint": "http://mlflow"},
    )
    await access.prepared([rules], [parse("hf://org/m")])
    assert cluster.asked == ["login"]
    await access.prepared([rules], [parse("models:/m/1")])  # which leads to a store
    assert sorted(cluster.asked) == ["docker", "login", "login"]
