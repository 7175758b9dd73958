"""Logging in with the identity of a GitHub App, of Azure and of AWS, against servers that speak as theirs do."""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from prometheus_client import CollectorRegistry

from agent.adapters.identity import GitHubApp, Identities, IdentityError, Login, ServiceAccount
from agent.adapters.identity.aws import Keys, codecommit_login
from agent.telemetry.tokencache import Asker, TokenCacheMetrics
from testbed.git import CertificateAuthority

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)
APP = {"githubAppID": b"123", "githubAppPrivateKey": PEM}
ASKER = Asker("GitRepository", "team", "models")
ACCOUNT = ServiceAccount("team", "puller")
CODECOMMIT = "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/models"
ROLE = "arn:aws:iam::123456789012:role/puller"


class Accounts:
    """ServiceAccounts with annotations, whose tokens say for whom they are."""

    def __init__(self, annotations: Mapping[str, str] | None = None) -> None:
        self._annotations = dict(annotations or {})

    async def annotations(self, account: ServiceAccount) -> Mapping[str, str]:
        """Those of `ACCOUNT`."""
        if account != ACCOUNT:
            raise IdentityError(f"failed to get service account '{account}': not found")
        return self._annotations

    async def token(self, account: ServiceAccount, audience: str) -> str:
        """A text that names both."""
        return f"token of {account} for {audience}"


class Server:
    """Answers with what `answers` holds for `METHOD /path`; remembers what came."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[web.Request, Mapping[str, str]], Any]] = {}
        self.requests: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = []
        self.base = ""

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        form = {key: str(value) for key, value in (await request.post()).items()}
        line = f"{request.method} {request.path}"
        self.requests.append((line, dict(request.headers), form))
        answer = self.answers.get(line)
        if answer is None:
            return web.json_response({"message": "Not Found"}, status=404)
        found = answer(request, form)
        return found if isinstance(found, web.Response) else web.json_response(found)


@asynccontextmanager
async def serving(
    authority: CertificateAuthority | None = None, clients: CertificateAuthority | None = None
) -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    context = authority.server_context("127.0.0.1", client_authority=clients) if authority else None
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.base = f"{'https' if authority else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


def issued(token: str = "ghs_1", seconds: float = 3600) -> Callable[[web.Request, Mapping[str, str]], web.Response]:
    expires = dt.datetime.fromtimestamp(int(time.time() + seconds), dt.UTC).isoformat().replace("+00:00", "Z")
    return lambda *_: web.json_response({"token": token, "expires_at": expires}, status=201)


def claims(headers: Mapping[str, str]) -> dict[str, Any]:
    """What the statement of an App says, once its signature was found good."""
    scheme, _, statement = headers["Authorization"].partition(" ")
    assert scheme == "Bearer"
    signed, _, signature = statement.rpartition(".")
    KEY.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    head, _, body = signed.partition(".")
    assert json.loads(_decoded(head)) == {"alg": "RS256", "typ": "JWT"}
    found: dict[str, Any] = json.loads(_decoded(body))
    return found


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def identities(environment: Mapping[str, str] | None = None, accounts: Accounts | None = None) -> Identities:
    metrics = TokenCacheMetrics(CollectorRegistry())
    return Identities(accounts or Accounts(), metrics, environment=environment or {})


async def refused(login: Awaitable[Login]) -> str:
    with pytest.raises(IdentityError) as caught:
        await login
    assert "PRIVATE KEY" not in str(caught.value)
    return str(caught.value)


async def test_an_app_gets_a_token_of_its_installation(server: Server) -> None:
    server.answers["POST /api/v3/app/installations/77/access_tokens"] = issued()
    app = GitHubApp.from_secret(
        APP | {"githubAppInstallationID": b"77\n", "githubAppBaseURL": f"{server.base}/api/v3/".encode()}
    )
    login = await identities().github(app, ASKER, proxy="")
    assert (login.username, login.password) == ("x-access-token", "ghs_1")
    ((_, headers, _),) = server.requests
    said = claims(headers)
    assert said["iss"] == "123"
    assert said["exp"] - said["iat"] == 120
    assert said["iat"] <= time.time() - 29


@pytest.mark.parametrize("kind", ["orgs", "users"])
async def test_an_installation_is_found_by_its_owner(server: Server, kind: str) -> None:
    server.answers[f"GET /{kind}/octo/installation"] = lambda *_: {"id": 5}
    server.answers["POST /app/installations/5/access_tokens"] = issued()
    app = GitHubApp.from_secret(APP | {"githubAppInstallationOwner": b"octo", "githubAppBaseURL": server.base.encode()})
    assert (await identities().github(app, ASKER, proxy="")).password == "ghs_1"
    server.answers.clear()
    message = await refused(identities().github(app, ASKER, proxy=""))
    assert "failed to find organization installation: 404 Not Found" in message
    assert "failed to find user installation: 404 Not Found" in message


async def test_a_token_is_used_until_most_of_its_life_is_over(server: Server) -> None:
    line = "POST /app/installations/5/access_tokens"
    server.answers[line] = issued("one")
    app = GitHubApp.from_secret(APP | {"githubAppInstallationID": b"5", "githubAppBaseURL": server.base.encode()})
    known = identities()
    for _ in range(3):
        assert (await known.github(app, ASKER, proxy="")).password == "one"
    assert len(server.requests) == 1
    server.answers[line] = issued("short", seconds=-1)
    other = identities()
    await other.github(app, ASKER, proxy="")
    server.answers[line] = issued("two")
    renewed = await other.github(app, ASKER, proxy="")
    assert renewed.password == "two"
    assert renewed.identity == app.identity
    forgetful = Identities(Accounts(), TokenCacheMetrics(CollectorRegistry()), cache=0, environment={})
    before = len(server.requests)
    await forgetful.github(app, ASKER, proxy="")
    await forgetful.github(app, ASKER, proxy="")
    assert len(server.requests) == before + 2


async def test_certificates_of_github_enterprise() -> None:
    authority, clients = CertificateAuthority(), CertificateAuthority("clients")
    client = clients.issue("agent", client=True)
    async with serving(authority, clients) as server:
        server.answers["POST /app/installations/5/access_tokens"] = issued()
        data = APP | {"githubAppInstallationID": b"5", "githubAppBaseURL": server.base.encode()}
        data |= {"ca.crt": authority.certificate}
        shown = GitHubApp.from_secret(data | {"tls.crt": client.certificate, "tls.key": client.private_key})
        assert (await identities().github(shown, ASKER, proxy="")).password == "ghs_1"
        assert "cannot be asked" in await refused(identities().github(GitHubApp.from_secret(data), ASKER, proxy=""))
        broken = GitHubApp.from_secret(data | {"tls.crt": b"x", "tls.key": b"y"})
        assert "tls.crt and tls.key are no certificate" in await refused(identities().github(broken, ASKER, proxy=""))


async def test_a_private_authority_of_github_enterprise() -> None:
    authority = CertificateAuthority()
    async with serving(authority) as server:
        server.answers["POST /app/installations/5/access_tokens"] = issued()
        data = APP | {"githubAppInstallationID": b"5", "githubAppBaseURL": server.base.encode()}
        trusting = GitHubApp.from_secret(data | {"ca.crt": authority.certificate})
        assert (await identities().github(trusting, ASKER, proxy="")).password == "ghs_1"
        assert "cannot be asked" in await refused(identities().github(GitHubApp.from_secret(data), ASKER, proxy=""))
        broken = GitHubApp.from_secret(data | {"ca.crt": b"nothing"})
        assert "ca.crt holds no certificate" in await refused(identities().github(broken, ASKER, proxy=""))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"githubAppPrivateKey": PEM, "githubAppInstallationID": b"5"}, "key 'githubAppID' is missing"),
        ({"githubAppID": b"1", "githubAppInstallationID": b"5"}, "key 'githubAppPrivateKey' is missing"),
        (APP, "exactly one of"),
        (APP | {"githubAppInstallationID": b"5", "githubAppInstallationOwner": b"o"}, "exactly one of"),
        (APP | {"githubAppInstallationID": b"five"}, "key 'githubAppInstallationID' is not a number"),
        (APP | {"githubAppInstallationID": b"5", "githubAppBaseURL": b"ftp://x"}, "'githubAppBaseURL' is not an http"),
        (
            APP | {"githubAppInstallationID": b"5", "githubAppBaseURL": b"http://x/any?"},
            "without credentials and query",
        ),
    ],
)
def test_incomplete_secrets_of_apps(data: dict[str, bytes], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GitHubApp.from_secret(data)


@pytest.mark.parametrize("key", ["text", "elliptic", "encrypted"])
async def test_unusable_keys_of_apps(key: str) -> None:
    pem = {
        "text": b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
        "elliptic": ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "encrypted": KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        ),
    }[key]
    app = GitHubApp.from_secret(APP | {"githubAppPrivateKey": pem, "githubAppInstallationID": b"5"})
    assert "could not parse private key" in await refused(identities().github(app, ASKER, proxy=""))


async def test_what_github_says_of_a_refusal_is_told(server: Server) -> None:
    server.answers["POST /app/installations/5/access_tokens"] = lambda *_: web.json_response(
        {"message": "A JSON web token could not be decoded"}, status=401
    )
    app = GitHubApp.from_secret(APP | {"githubAppInstallationID": b"5", "githubAppBaseURL": server.base.encode()})
    message = await refused(identities().github(app, ASKER, proxy=""))
    assert message == "no token for installation 5: 401 A JSON web token could not be decoded"
    assert "http proxy" in await refused(identities().github(app, ASKER, proxy="socks5://127.0.0.1:1"))


def entra(_: web.Request, form: Mapping[str, str]) -> dict[str, Any]:
    return {"access_token": f"azure for {form.get('client_id')}", "expires_in": 3600, "token_type": "Bearer"}


async def test_azure_by_the_files_of_workload_identity(server: Server, tmp_path: Path) -> None:
    server.answers["POST /tenant-1/oauth2/v2.0/token"] = entra
    (tmp_path / "token").write_text("federated\n")
    environment = {
        "AZURE_CLIENT_ID": "client-1",
        "AZURE_TENANT_ID": "tenant-1",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "AZURE_AUTHORITY_HOST": f"{server.base}/",
    }
    known = identities(environment)
    login = await known.azure_devops(None, ASKER, proxy="")
    assert (login.bearer_token, login.username) == ("azure for client-1", "")
    assert server.requests[0][2] == {
        "grant_type": "client_credentials",
        "scope": "499b84ac-1321-427f-aa17-267ca6975798/.default",
        "client_id": "client-1",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "federated",
    }
    await known.azure_devops(None, ASKER, proxy="")
    assert len(server.requests) == 1
    (tmp_path / "token").unlink()
    assert "AZURE_FEDERATED_TOKEN_FILE cannot be read" in await refused(
        identities(environment).azure_devops(None, ASKER, proxy="")
    )


async def test_azure_by_a_client_secret_or_the_machine(server: Server) -> None:
    server.answers["POST /t/oauth2/v2.0/token"] = entra
    with_secret = {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_SECRET": "s"}
    login = await identities(with_secret | {"AZURE_AUTHORITY_HOST": server.base}).azure_devops(None, ASKER, proxy="")
    assert login.bearer_token == "azure for c"
    assert server.requests[0][2]["client_secret"] == "s"

    server.answers["GET /metadata/identity/oauth2/token"] = lambda request, _: (
        {"access_token": f"managed {request.query['client_id']}", "expires_in": "3599"}
        if request.headers["Metadata"] == "true"
        else web.Response(status=400)
    )
    machine = {"AZURE_CLIENT_ID": "c", "AZURE_POD_IDENTITY_AUTHORITY_HOST": server.base}
    assert (await identities(machine).azure_devops(None, ASKER, proxy="")).bearer_token == "managed c"
    nowhere = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"}
    assert "this agent has no identity" in await refused(identities(nowhere).azure_devops(None, ASKER, proxy=""))


async def test_azure_by_a_service_account(server: Server) -> None:
    server.answers["POST /tenant-2/oauth2/v2.0/token"] = entra
    annotations = {"azure.workload.identity/tenant-id": "tenant-2", "azure.workload.identity/client-id": "client-2"}
    accounts, environment = Accounts(annotations), {"AZURE_AUTHORITY_HOST": server.base}
    login = await identities(environment, accounts).azure_devops(ACCOUNT, ASKER, proxy="")
    assert login.bearer_token == "azure for client-2"
    assert server.requests[0][2]["client_assertion"] == "token of team/puller for api://AzureADTokenExchange"
    bare = await refused(identities(environment, Accounts()).azure_devops(ACCOUNT, ASKER, proxy=""))
    assert "azure tenant ID is not set in the service account annotation azure.workload.identity/tenant-id" in bare
    absent = ServiceAccount("team", "absent")
    assert "failed to get service account" in await refused(
        identities(environment).azure_devops(absent, ASKER, proxy="")
    )
    server.answers["POST /tenant-2/oauth2/v2.0/token"] = lambda *_: web.json_response(
        {"error": "invalid_client", "error_description": "AADSTS700213: no matching federation\r\nTrace ID: 1"},
        status=401,
    )
    message = await refused(identities(environment, accounts).azure_devops(ACCOUNT, ASKER, proxy=""))
    assert message == "Microsoft Entra refused a token: 401 invalid_client AADSTS700213: no matching federation"


def sts(_: web.Request, form: Mapping[str, str]) -> web.Response:
    assert form["Action"] == "AssumeRoleWithWebIdentity"
    expires = dt.datetime.fromtimestamp(time.time() + 3600, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIA{form["RoleArn"][-6:]}</AccessKeyId>
      <SecretAccessKey>s3cr3t</SecretAccessKey><SessionToken>{form["RoleSessionName"]}</SessionToken>
      <Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
    </AssumeRoleWithWebIdentityResponse>"""
    return web.Response(text=text, content_type="text/xml")


async def test_aws_by_the_role_of_the_pod(server: Server, tmp_path: Path) -> None:
    server.answers["POST /"] = sts
    (tmp_path / "token").write_text("projected")
    environment = {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_SESSION_NAME": "weir",
        "AWS_ENDPOINT_URL_STS": server.base,
    }
    known = identities(environment)
    login = await known.codecommit(CODECOMMIT, None, ASKER, proxy="")
    assert login.username == "ASIApuller%weir"
    assert server.requests[0][2]["WebIdentityToken"] == "projected"
    assert login.expires <= time.time() + 900
    other = await known.codecommit(f"{CODECOMMIT}-2", None, ASKER, proxy="")
    assert other.password != login.password
    assert other.identity == login.identity
    assert len(server.requests) == 1


async def test_aws_by_the_role_of_a_service_account(server: Server) -> None:
    server.answers["POST /"] = sts
    environment = {"AWS_ENDPOINT_URL_STS": server.base}
    accounts = Accounts({"eks.amazonaws.com/role-arn": ROLE})
    login = await identities(environment, accounts).codecommit(CODECOMMIT, ACCOUNT, ASKER, proxy="")
    assert login.username == "ASIApuller%puller.team.eu-west-1.fluxcd.io"
    assert server.requests[0][2]["WebIdentityToken"] == "token of team/puller for sts.amazonaws.com"
    bare = await refused(identities(environment, Accounts()).codecommit(CODECOMMIT, ACCOUNT, ASKER, proxy=""))
    assert "invalid eks.amazonaws.com/role-arn annotation" in bare
    server.answers["POST /"] = lambda *_: web.Response(
        status=403,
        text="<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>",
    )
    message = await refused(identities(environment, accounts).codecommit(CODECOMMIT, ACCOUNT, ASKER, proxy=""))
    assert message == "AWS STS refused the role: 403 AccessDenied Not authorized"
    server.answers["POST /"] = lambda *_: web.Response(text='<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    assert "document type" in await refused(
        identities(environment, accounts).codecommit(CODECOMMIT, ACCOUNT, ASKER, proxy="")
    )


async def test_aws_by_pod_identity_by_keys_and_by_the_machine(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pod")
    keys = {"AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    server.answers["GET /v1/credentials"] = lambda request, _: (
        keys if request.headers["Authorization"] == "pod" else web.Response(status=403)
    )
    pod = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.base}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    assert (await identities(pod).codecommit(CODECOMMIT, None, ASKER, proxy="")).username == "ASIA1%t"

    static = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "s"}
    assert (await identities(static).codecommit(CODECOMMIT, None, ASKER, proxy="")).username == "AKIA1"

    server.answers["PUT /latest/api/token"] = lambda *_: web.Response(text="session")
    server.answers["GET /latest/meta-data/iam/security-credentials/"] = lambda *_: web.Response(text="node-role")
    server.answers["GET /latest/meta-data/iam/security-credentials/node-role"] = lambda request, _: (
        keys if request.headers["X-aws-ec2-metadata-token"] == "session" else web.Response(status=401)
    )
    machine = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.base}
    assert (await identities(machine).codecommit(CODECOMMIT, None, ASKER, proxy="")).username == "ASIA1%t"
    nowhere = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
    assert "this agent has no identity" in await refused(
        identities(nowhere).codecommit(CODECOMMIT, None, ASKER, proxy="")
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://git-codecommit.eu-west-1.amazonaws.com/v1/repos/x", "requires an HTTPS Git URL"),
        ("https://git.example.org/x", "invalid AWS CodeCommit Git URL: git.example.org"),
        ("https://git-codecommit.eu-west-1.amazonaws.com.evil.example/x", "invalid AWS CodeCommit Git URL"),
    ],
)
async def test_only_codecommit_gets_a_signature(url: str, words: str) -> None:
    assert words in await refused(identities().codecommit(url, None, ASKER, proxy=""))


def test_the_signature_is_the_one_of_git_remote_codecommit() -> None:
    """Computed with botocore's signer, as AWS's own helper for Git does, for the same keys and second."""
    keys = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "", 4e9)
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    login = codecommit_login("https://git-codecommit.us-east-1.amazonaws.com/v1/repos/models", keys, "x", now)
    assert login.username == "AKIDEXAMPLE"
    stamp, _, signature = login.password.partition("Z")
    assert stamp == "20260102T030405"
    assert signature == "b1c0269474b099cc9e05e7ccb3a839aab0e4879993cb1cc2e10dbbff9dba4c70"
    assert login.expires == now.timestamp() + 900


async def test_the_cache_of_tokens_is_measured_as_flux_measures_it(server: Server) -> None:
    registry = CollectorRegistry()
    known = Identities(Accounts(), TokenCacheMetrics(registry), cache=1, environment={})
    for number in (5, 6):
        server.answers[f"POST /app/installations/{number}/access_tokens"] = issued()
    data = APP | {"githubAppBaseURL": server.base.encode()}
    five, six, absent = (
        GitHubApp.from_secret(data | {"githubAppInstallationID": number}) for number in (b"5", b"6", b"7")
    )
    for app in (five, five, six):
        await known.github(app, ASKER, proxy="")
    await refused(known.github(absent, ASKER, proxy=""))

    def value(name: str, /, **labels: str) -> float | None:
        return registry.get_sample_value(f"gotk_token_{name}", labels)

    about = {"kind": "GitRepository", "name": "models", "namespace": "team", "operation": "reconcile"}
    assert value("cache_events_total", event_type="cache_hit", **about) == 1
    assert value("cache_events_total", event_type="cache_miss", **about) == 3
    assert (value("cache_requests_total", status="success"), value("cache_requests_total", status="failure")) == (3, 1)
    assert (value("cache_evictions_total"), value("cached_items")) == (2, 0)
    known.forget(ASKER)
    assert value("cache_events_total", event_type="cache_hit", **about) is None
