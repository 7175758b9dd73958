"""As whom a write-back pushes: as the GitHub App of its Secret, or with what the Secret holds; never without a word."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.controllers.writeback.credentials import api_token, login_of
from agent.core.writeback.policy import PolicyError
from agent.errors import AuthenticationError
from testbed.git import GitHTTPServer
from tests.writeback.recorded_api import Exchange, RecordedApi
from tests.writeback.writeback_repository import BAD, GOOD, Rollback, deployment

ISSUE = ("POST", "/app/installations/7/access_tokens")
HTTPS = "https://github.com/acme/apps"


@pytest.fixture(scope="module")
def key() -> bytes:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def app(key: bytes, api: str) -> dict[str, bytes]:
    return {
        "githubAppID": b"1",
        "githubAppInstallationID": b"7",
        "githubAppPrivateKey": key,
        "githubAppBaseURL": api.encode(),
    }


async def test_the_app_of_the_secret_pushes(rollback: Rollback, tmp_path: Path, key: bytes) -> None:
    rollback.git.commit({"chat.yaml": deployment(BAD)})
    issued = Exchange(*ISSUE, 201, {"token": "ghs_pushes", "expires_at": "2099-01-01T00:00:00Z"})
    async with RecordedApi([issued], {}) as api:
        login = await login_of("github", rollback.url, app(key, api.url), "models/writer", None)
    async with GitHTTPServer(tmp_path / "served", basic=("x-access-token", "ghs_pushes")) as locked:
        written = await rollback.write(url=locked.url("apps"), secret=app(key, api.url), login=login)
    assert written.state == "committed"
    assert rollback.git.read("chat.yaml").decode() == deployment(GOOD)
    assert api_token({}, "models/writer", login) == "ghs_pushes", "and asks the server's API"


async def test_an_app_that_gets_no_token_is_tried_again(key: bytes) -> None:
    async with RecordedApi([Exchange(*ISSUE, 403, {"message": "suspended"})], {}) as api:
        with pytest.raises(AuthenticationError, match="no token for installation 7: 403 suspended"):
            await login_of("github", HTTPS, app(key, api.url), "models/writer", None)


@pytest.mark.parametrize(
    ("provider", "url", "secret", "says"),
    [
        (
            "azure",
            HTTPS,
            {},
            "do not log in by spec.provider azure: put username and password of somebody who may push",
        ),
        ("aws", HTTPS, {"token": b"for-the-api"}, "do not log in by spec.provider aws"),
        ("github", HTTPS, {}, "who may push, or the keys of a GitHub App, into secret models/writer"),
        ("github", HTTPS, {"githubAppID": b"1"}, "secret models/writer of the write-back: key 'githubAppPrivateKey'"),
        ("github", "ssh://git@github.com/acme/apps", {"githubAppID": b"1"}, "logs in over https only"),
    ],
)
async def test_what_cannot_log_in_is_refused_with_what_would(
    provider: str, url: str, secret: dict[str, bytes], says: str
) -> None:
    with pytest.raises(PolicyError, match=says):
        await login_of(provider, url, secret, "models/writer", None)


@pytest.mark.parametrize(
    ("provider", "secret"),
    [
        ("azure", {"username": b"robot", "password": b"p"}),
        ("github", {"bearerToken": b"t"}),
        ("generic", {}),
        ("", {}),
    ],
)
async def test_a_secret_with_credentials_needs_no_login(provider: str, secret: dict[str, bytes]) -> None:
    assert await login_of(provider, HTTPS, secret, "models/writer", None) is None
