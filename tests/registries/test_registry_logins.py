"""Logging in to registries and stores with the identity of a workload."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.adapters.identity import IdentityError, ServiceAccount
from agent.adapters.registries import Access
from agent.adapters.registries.logins import LoggedIn, RegistryLogins, Wanted
from agent.telemetry.tokencache import Asker, TokenCacheMetrics
from testbed.aws import REGION, Aws
from testbed.ociregistry import OciRegistry
from tests.registries.registry_servers import Asking, Registry

ACCOUNT = ServiceAccount("ml", "loader")
ASKER = Asker("ChangePolicy", "ml", "registries")
ECR = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"


class Accounts:
    """ServiceAccounts with annotations, whose tokens name them and their audience."""

    def __init__(self, annotations: Mapping[str, str] | None = None) -> None:
        self._annotations = annotations or {}

    async def annotations(self, _account: ServiceAccount) -> Mapping[str, str]:
        return self._annotations

    async def token(self, account: ServiceAccount, audience: str) -> str:
        return f"token of {account} for {audience}"


def logins(
    environment: Mapping[str, str], annotations: Mapping[str, str] | None = None, at: str = ""
) -> RegistryLogins:
    metrics = TokenCacheMetrics(CollectorRegistry())
    return RegistryLogins(Accounts(annotations), metrics, environment=environment, at=lambda _host: at)


def access(login: LoggedIn) -> Access:
    return Access(login.endpoint, login.entries, scope="identity")


async def test_a_web_identity_reads_a_bucket(store: Aws, ask: Asking, tmp_path: Path) -> None:
    role = await store.role("reader")
    await store.put("models", "irsa/w", b"x", checksum=True)
    (tmp_path / "token").write_text("a token of the cluster")
    environment = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": role,
        "AWS_ENDPOINT_URL": store.url,
        "AWS_REGION": REGION,
    }
    login = await logins(environment).log_in(Wanted("aws", "s3"), None, ASKER)
    assert login.entries["sessionToken"]
    ask.access = access(login)
    async with store.guarded():
        found = await ask("s3://models/irsa/w")
    assert (found.unresolved, found.digest and found.digest.strength) == (None, "sha256")


async def test_a_service_account_reads_a_bucket(store: Aws, ask: Asking) -> None:
    role = await store.role("loader")
    await store.put("models", "account/w", b"x")
    known = logins({"AWS_ENDPOINT_URL": store.url}, {"eks.amazonaws.com/role-arn": role})
    ask.access = access(await known.log_in(Wanted("aws", "s3", region=REGION), ACCOUNT, ASKER))
    async with store.guarded():
        assert (await ask("s3://models/account/w")).unresolved is None


async def test_ecr(store: Aws, artifacts: OciRegistry, ask: Asking) -> None:
    known = logins({"AWS_ENDPOINT_URL": store.url, "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"})
    login = await known.log_in(Wanted("aws", "oci", ECR), None, ASKER)
    assert login.entries == {"username": "AWS", "password": "123456789012-auth-token"}
    digest = await artifacts.push("team/ecr", "v1", {"text/plain": b"x"})
    ask.access = Access(artifacts.url, login.entries, scope="ecr")
    assert str((await ask(f"oci://{ECR}/team/ecr:v1")).digest) == digest


async def test_azure(server: Registry) -> None:
    tokens = {"access_token": "of entra", "expires_in": 3600}
    server.json("/tenant/oauth2/v2.0/token", tokens)
    server.json("/oauth2/exchange", {"refresh_token": "of the registry"})
    environment = {"AZURE_AUTHORITY_HOST": server.url}
    annotations = {"azure.workload.identity/tenant-id": "tenant", "azure.workload.identity/client-id": "client"}
    known = logins(environment, annotations, at=server.url)
    blob = await known.log_in(Wanted("azure", "azure"), ACCOUNT, ASKER)
    assert (blob.entries, blob.endpoint) == ({"token": "of entra"}, "")
    registry = await known.log_in(Wanted("azure", "oci", "models.azurecr.io"), ACCOUNT, ASKER)
    assert registry.entries == {"username": "00000000-0000-0000-0000-000000000000", "password": "of the registry"}
    assert [request.path for request in server.asked] == [
        "/tenant/oauth2/v2.0/token",
        "/tenant/oauth2/v2.0/token",
        "/oauth2/exchange",
    ]


async def test_google(server: Registry) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    server.json(path, {"access_token": "of the machine", "expires_in": 3600, "token_type": "Bearer"})
    server.json("/v1/token", {"access_token": "exchanged", "expires_in": 3600})
    environment = {
        "GCE_METADATA_HOST": server.url.removeprefix("http://"),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS": server.url,
    }
    pool = "projects/1/locations/global/workloadIdentityPools/p/providers/x"
    known = logins(environment, {"gcp.auth.fluxcd.io/workload-identity-provider": pool})
    assert (await known.log_in(Wanted("gcp", "gs"), None, ASKER)).entries == {"token": "of the machine"}
    found = await known.log_in(Wanted("gcp", "oci", "europe-docker.pkg.dev"), ACCOUNT, ASKER)
    assert found.entries == {"username": "oauth2accesstoken", "password": "exchanged"}


@pytest.mark.parametrize(
    ("provider", "host"),
    [
        ("aws", "registry.example"),
        ("aws", "123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example"),
        ("azure", "models.azurecr.io.evil.example"),
        ("azure", "evil.example/models.azurecr.io"),
        ("gcp", "evil-gcr.io"),
        ("gcp", "evil.example#.gcr.io"),
        ("gcp", ""),
    ],
)
async def test_no_token_goes_to_a_host_of_somebody_else(server: Registry, provider: str, host: str) -> None:
    with pytest.raises(IdentityError, match="use a secretRef"):
        await logins({}, at=server.url).log_in(Wanted(provider, "oci", host), None, ASKER)
    assert server.asked == []


async def test_no_token_goes_to_an_account_that_is_an_address(server: Registry, ask: Asking) -> None:
    ask.access = Access(secret={"token": base64.b64encode(b"t").decode()})
    for account in ("evil.example?x", "evil.example:443", "me@evil.example"):
        assert (await ask(f"as://{account}/container/m")).unresolved in {"unsupported", "malformed"}


async def test_tokens_are_used_again_and_refusals_believed(server: Registry) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    server.status(path, 403)
    known = logins({"GCE_METADATA_HOST": server.url.removeprefix("http://")})
    for _ in range(2):
        with pytest.raises(IdentityError, match="403"):
            await known.log_in(Wanted("gcp", "gs"), None, ASKER)
    assert len(server.asked) == 1
    server.json(path, {"access_token": "t", "expires_in": 3600})
    for _ in range(2):
        await known.log_in(Wanted("gcp", "gs", host="other"), None, ASKER)
    assert len(server.asked) == 2
