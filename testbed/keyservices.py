"""Key services on loopback: Vault's transit engine, AWS KMS, Google KMS and Azure Key Vault, as far as SOPS uses them.

What is real: the requests that the official clients send, their paths, headers and forms, and tokens that are issued
before they are asked for. What is not: cryptography; a cipher text is a number under which the plain text is kept.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from aiohttp import web

from testbed.certificates import Authority
from testbed.ports import free_port

VAULT_TOKEN = "hvs.of-the-test-bed"
AWS_REGION = "eu-central-1"
AWS_KEY = f"arn:aws:kms:{AWS_REGION}:111122223333:key/00000000-0000-0000-0000-000000000001"
GCP_KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
AZURE_TENANT = "11111111-1111-1111-1111-111111111111"
_GOOGLE = ("sts.googleapis.com", "iamcredentials.googleapis.com")


class KeyServices:
    """All of them on one port, and on a second one with TLS, for Azure.

    `logins` are the identities that were told, in order: `service: what it was told`. A login is refused for a token
    whose subject is not in `subjects`, if there are any.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder)
        self._pair = self._authority.issue("keyservices", dns=("localhost", *_GOOGLE))
        self.certificate = self._authority.pair.certificate
        self.url = f"http://127.0.0.1:{free_port()}"
        self.secure_url = f"https://127.0.0.1:{free_port()}"
        self.logins: list[str] = []
        self.subjects: set[str] = set()
        self._sealed: dict[str, bytes] = {}
        self._tokens = {VAULT_TOKEN}
        self._runner: web.AppRunner | None = None
        self._proxy: asyncio.Server | None = None
        self._proxy_port = free_port()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/v1/transit/{action:encrypt|decrypt}/{key}", self._vault)
        app.router.add_route("*", "/v1/auth/{mount}/login", self._vault_login)
        app.router.add_post("/", self._aws)
        app.router.add_post("/v1/{key:projects/.+}:{action:encrypt|decrypt}", self._google)
        app.router.add_post("/google/token", self._google_token)
        app.router.add_get("/computeMetadata/v1/{entry:.*}", self._google_machine)
        app.router.add_post("/v1/token", self._google_exchange)
        app.router.add_post("/v1/projects/-/serviceAccounts/{email}:generateAccessToken", self._google_account)
        app.router.add_post("/keys/{key}/{version}/{action:encrypt|decrypt}", self._azure)
        app.router.add_get("/identity", self._machine)
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._entra)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._entra_token)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._pair.certificate, self._pair.key)
        await web.TCPSite(self._runner, "127.0.0.1", _port(self.url)).start()
        await web.TCPSite(self._runner, "127.0.0.1", _port(self.secure_url), ssl_context=context).start()
        self._proxy = await asyncio.start_server(self._tunnel, "127.0.0.1", self._proxy_port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        assert self._proxy is not None
        self._proxy.close()
        await self._runner.cleanup()

    def environment(self) -> dict[str, str]:
        """Variables by which the official clients find these services instead of the real ones."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SOPS_GCP_KMS_ENDPOINT": self.url,
            "SOPS_GCP_KMS_CLIENT_TYPE": "rest",
            "GCE_METADATA_HOST": self.url.partition("://")[2],
            "AZURE_AUTHORITY_HOST": self.secure_url,
            "IDENTITY_ENDPOINT": f"{self.url}/identity",
            "IDENTITY_HEADER": "of-the-test-bed",
            "SSL_CERT_FILE": str(self.certificate),
            # Whatever is asked of a host by name, such as Google's, comes here too.
            "HTTPS_PROXY": f"http://127.0.0.1:{self._proxy_port}",
        }

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A proxy whose every way leads here."""
        await reader.readuntil(b"\r\n\r\n")
        there = await asyncio.open_connection("127.0.0.1", _port(self.secure_url))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    def _seal(self, plain: bytes) -> str:
        number = secrets.token_hex(16)
        self._sealed[number] = plain
        return number

    async def _vault(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Vault-Token") not in self._tokens:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        asked = await request.json()
        if request.match_info["action"] == "encrypt":
            sealed = self._seal(base64.b64decode(asked["plaintext"]))
            return web.json_response({"data": {"ciphertext": f"vault:v1:{sealed}"}})
        plain = self._sealed[asked["ciphertext"].removeprefix("vault:v1:")]
        return web.json_response({"data": {"plaintext": base64.b64encode(plain).decode()}})

    async def _vault_login(self, request: web.Request) -> web.Response:
        asked = await request.json()
        claims = _claims(asked["jwt"])
        self.logins.append(f"vault {request.match_info['mount']}: {asked['role']} {claims['sub']} {claims['aud']}")
        if claims["sub"] not in self.subjects:
            return web.json_response({"errors": ["invalid role name"]}, status=400)
        token = f"hvs.{secrets.token_hex(8)}"
        self._tokens.add(token)
        return web.json_response({"auth": {"client_token": token}})

    async def _aws(self, request: web.Request) -> web.Response:
        target = request.headers.get("X-Amz-Target", "")
        if not target:
            return self._assumed(await request.text())
        self.logins.append(f"aws: {request.headers['Authorization'].partition('Credential=')[2].partition('/')[0]}")
        asked = json.loads(await request.read())
        if target == "TrentService.Encrypt":
            sealed = self._seal(base64.b64decode(asked["Plaintext"])).encode()
            answer = {"CiphertextBlob": base64.b64encode(sealed).decode(), "KeyId": asked["KeyId"]}
        else:
            plain = self._sealed[base64.b64decode(asked["CiphertextBlob"]).decode()]
            answer = {"Plaintext": base64.b64encode(plain).decode(), "KeyId": asked["KeyId"]}
        return web.json_response(answer, content_type="application/x-amz-json-1.1")

    def _assumed(self, form: str) -> web.Response:
        asked = {name: values[0] for name, values in parse_qs(form).items()}
        claims = _claims(asked["WebIdentityToken"])
        self.logins.append(f"sts: {asked['RoleArn']} {asked['RoleSessionName']} {claims['sub']} {claims['aud']}")
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return web.Response(
            content_type="text/xml",
            text="<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
            "<AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
            f"<Expiration>{ends}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        )

    async def _google(self, request: web.Request) -> web.Response:
        self.logins.append(f"google: {request.headers.get('Authorization', '')}")
        asked = await request.json()
        if request.match_info["action"] == "encrypt":
            sealed = self._seal(base64.b64decode(asked["plaintext"])).encode()
            return web.json_response({"name": GCP_KEY, "ciphertext": base64.b64encode(sealed).decode()})
        plain = self._sealed[base64.b64decode(asked["ciphertext"]).decode()]
        return web.json_response({"plaintext": base64.b64encode(plain).decode()})

    async def _google_token(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.logins.append(f"google token: {_claims(str(form['assertion'])).get('iss')}")
        return web.json_response({"access_token": "of-google", "token_type": "Bearer", "expires_in": 3600})

    async def _google_machine(self, request: web.Request) -> web.Response:
        """The metadata service of a node of a GKE cluster."""
        token = json.dumps({"access_token": "of-machine", "token_type": "Bearer", "expires_in": 3600})
        known = {
            "project/project-id": "p",
            "instance/attributes/cluster-location": "eu",
            "instance/attributes/cluster-name": "c",
            "universe/universe-domain": "googleapis.com",
            "instance/service-accounts/default/token": token,
        }
        text = known.get(request.match_info["entry"])
        return web.Response(text=text or "", status=404 if text is None else 200, headers={"Metadata-Flavor": "Google"})

    async def _google_exchange(self, request: web.Request) -> web.Response:
        asked = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        claims = _claims(asked["subject_token"])
        self.logins.append(f"google sts: {asked['audience']} {claims['sub']} {claims['aud']}")
        answer = {"access_token": "of-sts", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
        return web.json_response({**answer, "token_type": "Bearer", "expires_in": 3600})

    async def _google_account(self, request: web.Request) -> web.Response:
        self.logins.append(f"google account: {request.match_info['email']} {request.headers['Authorization']}")
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return web.json_response({"accessToken": "of-account", "expireTime": ends})

    async def _azure(self, request: web.Request) -> web.Response:
        if "Authorization" not in request.headers:
            # The client insists on a vault whose host is part of the resource's domain, and this is one, to it.
            domain = self.secure_url.partition("://127.")[2]
            challenge = f'Bearer authorization="{self.secure_url}/{AZURE_TENANT}", resource="https://{domain}"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        self.logins.append(f"azure: {request.headers['Authorization']}")
        asked, about = await request.json(), request.match_info
        value = _unpadded(asked["value"])
        sealed = self._seal(value).encode() if about["action"] == "encrypt" else self._sealed[value.decode()]
        kid = f"{self.secure_url}/keys/{about['key']}/{about['version']}"
        return web.json_response({"kid": kid, "value": base64.urlsafe_b64encode(sealed).decode().rstrip("=")})

    async def _machine(self, request: web.Request) -> web.Response:
        self.logins.append(f"machine: {request.query['resource']}")
        ends = str(int(time.time()) + 3600)
        return web.json_response(
            {"access_token": "of-machine", "token_type": "Bearer", "expires_in": "3600", "expires_on": ends}
        )

    async def _entra(self, request: web.Request) -> web.Response:
        root = f"{self.secure_url}/{request.match_info['tenant']}"
        return web.json_response(
            {
                "issuer": f"{root}/v2.0",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "token_endpoint": f"{root}/oauth2/v2.0/token",
            }
        )

    async def _entra_token(self, request: web.Request) -> web.Response:
        asked = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        who = asked.get("client_secret") or _claims(asked["client_assertion"])["sub"]
        self.logins.append(f"entra {request.match_info['tenant']}: {asked['client_id']} {who}")
        return web.json_response({"access_token": "of-entra", "token_type": "Bearer", "expires_in": 3600})


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on until one side ends."""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    writer.close()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _claims(token: str) -> dict[str, Any]:
    """What a JSON web token says, unverified."""
    found: dict[str, Any] = json.loads(_unpadded(token.split(".")[1]))
    return found


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
