"""Flux reference 2.2: how a GitRepository gets in, and which reason tells what went wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from agent.gates import FeatureGates
from testbed.git import CertificateAuthority, GitHTTPServer, GitSSHServer
from tests.scenarios.conformance.flux_source import stored
from tests.scenarios.conftest import REPO, RunningAgent, Story, conditions

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
USER, PASSWORD, TOKEN = "deploy", "hunter2hunter2", "t0kent0ken"
APP_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
APP = {"githubAppID": "1", "githubAppPrivateKey": APP_KEY.decode(), "githubAppInstallationID": "7"}


async def secret(story: Story, name: str = "login", **data: str | bytes) -> None:
    """Create or change a Secret; two underscores in a key stand for its dot."""
    encoded = {
        key.replace("__", "."): base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
        for key, value in data.items()
    }
    metadata = {"name": name, "namespace": story.namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})


async def failed(story: Story, text: str, reason: str, *, stalled: bool = False) -> None:
    """Wait for a failure with a text and reason, and see that nothing secret is told."""

    def has_failed(seen: dict[str, Any] | None) -> bool:
        told = conditions(seen)
        return "Ready" in told and text in told["Ready"][2] and (("Stalled" in told) is stalled)

    found = await story.until(REPO, "repo", has_failed)
    told = conditions(found)
    assert told["Ready"][:2] == ("False", reason)
    assert told["FetchFailed"][:2] == ("True", reason)
    assert ("Reconciling" in told) is not stalled
    if stalled:
        assert told["Stalled"][1] == reason
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    everything = json.dumps(found) + " ".join(await story.events("repo"))
    for word in (PASSWORD, TOKEN, "PRIVATE KEY"):
        assert word not in everything


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[GitHTTPServer]:
    """A Git server that wants a user and password, or a token."""
    async with GitHTTPServer(tmp_path / "locked", basic=(USER, PASSWORD), bearer=TOKEN) as server:
        server.repository("models").commit({"a.yaml": "a: 1"})
        yield server


async def test_basic_authentication_and_its_failures(story: Story, locked: GitHTTPServer) -> None:
    wanted = {"url": locked.url("models"), "secretRef": {"name": "login"}}
    await story.source(**wanted)
    await failed(story, f"failed to get secret '{story.namespace}/login'", "AuthenticationFailed")
    await secret(story, password=PASSWORD)
    await story.pull("password")
    await failed(story, "'password' requires 'username' to be set", "AuthenticationFailed")
    await secret(story, username=USER, password="wrong")
    await story.pull("wrong")
    await failed(story, "authentication required", "GitOperationFailed")
    await secret(story, username=USER, password=PASSWORD)
    await story.pull("right")
    await stored(story)


async def test_a_bearer_token_wins_and_credentials_in_the_address_are_a_fallback(
    story: Story, locked: GitHTTPServer
) -> None:
    await secret(story, username="ignored", password="ignored", bearerToken=TOKEN)
    await story.source(url=locked.url("models"), secretRef={"name": "login"})
    await stored(story)
    inside = locked.url("models").replace("://", f"://{USER}:{PASSWORD}@")
    await story.source(url=inside)
    await stored(story)
    await story.source(url=inside, secretRef={"name": "login"})
    words = "basic auth and bearer token cannot be set at the same time"
    found = await story.failed("repo", words, REPO)
    assert conditions(found)["FetchFailed"][1] == "GitOperationFailed"


async def test_certificates_of_the_secret(story: Story, tmp_path: Path) -> None:
    authority, clients = CertificateAuthority(), CertificateAuthority("clients")
    context = authority.server_context("127.0.0.1", client_authority=clients)
    client = clients.issue("deployer", client=True)
    async with GitHTTPServer(tmp_path / "tls", tls=context) as server:
        server.repository("models").commit({"a.yaml": "a: 1"})
        await secret(story, ca__crt=authority.certificate, caFile=b"not read")
        await story.source(url=server.url("models"), secretRef={"name": "login"})
        await failed(story, "unable to clone", "GitOperationFailed")
        await secret(story, ca__crt=authority.certificate, tls__crt=client.certificate)
        await story.pull("half")
        await failed(story, "'tls.crt' and 'tls.key' must be set together", "AuthenticationFailed")
        pair = {"tls__crt": client.certificate, "tls__key": client.private_key}
        await secret(story, caFile=authority.certificate, **pair)
        await story.pull("whole")
        await stored(story)


async def test_ssh(story: Story, tmp_path: Path) -> None:
    async with GitSSHServer(tmp_path / "ssh") as server:
        server.repository("models").commit({"a.yaml": "a: 1"})
        await story.source(url=server.url("models"), secretRef={"name": "login"})
        await secret(story, identity=server.identity())
        await story.pull("no-hosts")
        await failed(story, "invalid 'ssh' auth option: 'known_hosts' is required", "AuthenticationFailed")
        await secret(story, known_hosts=server.known_hosts, identity=server.identity("open sesame"))
        await story.pull("encrypted")
        words = "SSH identity key is encrypted but no 'password' field was provided in the secret"
        await failed(story, f"{words} '{story.namespace}/login'", "AuthenticationFailed")
        await secret(story, known_hosts=b"git.example.org ssh-ed25519 AAAA", identity=server.identity())
        await story.pull("unknown-host")
        await failed(story, "knownhosts: key is unknown", "GitOperationFailed")
        await secret(story, known_hosts=server.known_hosts, identity=server.identity())
        await story.pull("right")
        await stored(story)
        assert set(server.users) == {"git"}


async def test_proxies(story: Story, tmp_path: Path) -> None:
    async with GitHTTPServer(tmp_path / "proxy", proxy=("proxy-user", PASSWORD)) as proxy:
        proxy.repository("models").commit({"a.yaml": "a: 1"})
        await story.source(url="http://git.example.invalid/models.git", proxySecretRef={"name": "proxy"})
        await failed(story, f"failed to get secret '{story.namespace}/proxy'", "AuthenticationFailed")
        await secret(story, "proxy", username="x")
        await story.pull("no-address")
        await failed(story, "invalid proxy secret: key 'address' is missing", "AuthenticationFailed")
        await secret(story, "proxy", address="ftp://proxy.example.org")
        await story.pull("ftp")
        await failed(story, "'address' is not a URL with one of the schemes", "AuthenticationFailed")
        await secret(story, "proxy", address=proxy.base, username="proxy-user", password=PASSWORD)
        await story.pull("right")
        await stored(story)


@pytest.fixture
async def api() -> AsyncIterator[tuple[str, list[str]]]:
    """Addresses of GitHub's and Microsoft Entra's interfaces, and what was asked of them."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        if request.path == "/app/installations/7/access_tokens":
            return web.json_response({"token": PASSWORD, "expires_at": "2099-01-01T00:00:00Z"}, status=201)
        if request.path == "/tenant/oauth2/v2.0/token":
            form: Mapping[str, Any] = await request.post()
            payload = str(form["client_assertion"]).split(".")[1]
            said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            asked.append(f"{said['sub']} for {said['aud'][0]}")
            return web.json_response({"access_token": TOKEN, "expires_in": 3600})
        return web.json_response({"message": "Not Found"}, status=404)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


async def test_a_github_app_logs_in_with_a_token_of_its_installation(
    story: Story, tmp_path: Path, api: tuple[str, list[str]]
) -> None:
    base, asked = api
    await secret(story, **APP, githubAppBaseURL=base)
    async with GitHTTPServer(tmp_path / "github", basic=("x-access-token", PASSWORD)) as server:
        server.repository("models").commit({"a.yaml": "a: 1"})
        await story.source(url=server.url("models"), provider="github", secretRef={"name": "login"})
        await stored(story)
        server.repository("models").commit({"a.yaml": "a: 2"})
        await story.pull("again")
        await story.until(REPO, "repo", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "again")
        assert asked == ["POST /app/installations/7/access_tokens"]
        await secret(story, **APP | {"githubAppInstallationID": "8"}, githubAppBaseURL=base)
        await story.pull("other")
        await failed(story, "no token for installation 8: 404 Not Found", "AuthenticationFailed")


async def test_providers_that_do_not_fit_the_secret(story: Story) -> None:
    reason = "InvalidProviderConfiguration"
    await story.source(provider="github")
    words = "secretRef with github app data must be specified when provider is set to github"
    await failed(story, words, reason, stalled=True)
    await secret(story, username=USER, password=PASSWORD)
    await story.source(provider="github", secretRef={"name": "login"})
    await failed(story, words, reason)
    await secret(story, githubAppID="1", githubAppInstallationID="7")
    await story.pull("half")
    await failed(story, "key 'githubAppPrivateKey' is missing", reason)
    await secret(story, **APP)
    await story.source(secretRef={"name": "login"})
    await failed(story, "has github app data but provider is not set to github", reason)
    await story.source(provider="azure", url="ssh://git@git.example.org/models.git")
    await failed(story, "spec.provider azure logs in over https only", reason, stalled=True)
    await story.source(provider="aws")
    await failed(story, "AWS CodeCommit authentication requires an HTTPS Git URL", "AuthenticationFailed")


async def test_a_service_account_needs_its_feature_gate(story: Story) -> None:
    await story.source(provider="azure", serviceAccountName="puller")
    words = "to use spec.serviceAccountName for provider authentication please enable the ObjectLevelWorkloadIdentity"
    await failed(story, words, "FeatureGateDisabled", stalled=True)


async def test_a_service_account_proves_to_azure_who_it_is(
    story: Story,
    own_agent: OwnAgent,
    tmp_path: Path,
    api: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, asked = api
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", base)
    key = "azure.workload.identity"
    account = {"name": "puller", "namespace": story.namespace, "annotations": {f"{key}/client-id": "client"}}
    manifest = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}
    await story.admin.apply(manifest)
    async with GitHTTPServer(tmp_path / "azure", bearer=TOKEN) as server:
        server.repository("models").commit({"a.yaml": "a: 1"})
        await story.source(url=server.url("models"), provider="azure", serviceAccountName="puller")
        async with own_agent(gates=FeatureGates(object_level_workload_identity=True)):
            await failed(
                story,
                f"azure tenant ID is not set in the service account annotation {key}/tenant-id",
                "AuthenticationFailed",
            )
            account["annotations"][f"{key}/tenant-id"] = "tenant"  # type: ignore[index]  # a mapping
            await story.admin.apply(manifest)
            await story.pull("tenant")
            await stored(story)
            subject = f"system:serviceaccount:{story.namespace}:puller"
            assert asked == ["POST /tenant/oauth2/v2.0/token", f"{subject} for api://AzureADTokenExchange"]
            await story.source(url=server.url("models"), provider="azure", serviceAccountName="absent")
            words = f"failed to get service account '{story.namespace}/absent'"
            await failed(story, words, "AuthenticationFailed")


async def test_with_a_default_account_nobody_logs_in_as_the_agent(
    story: Story,
    own_agent: OwnAgent,
    api: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, asked = api
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", base)
    for name, value in {"CLIENT_ID": "agent", "TENANT_ID": "tenant", "CLIENT_SECRET": PASSWORD}.items():
        monkeypatch.setenv(f"AZURE_{name}", value)
    await story.source(provider="azure")
    async with own_agent(default_service_account="locked"):
        await failed(story, "please enable the ObjectLevelWorkloadIdentity", "FeatureGateDisabled", stalled=True)
    await story.source(provider="azure", interval="9m")
    gates = FeatureGates(object_level_workload_identity=True)
    async with own_agent(default_service_account="locked", gates=gates):
        await failed(story, f"failed to get service account '{story.namespace}/locked'", "AuthenticationFailed")
    assert asked == []
