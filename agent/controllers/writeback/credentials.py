"""What a write-back logs in with: what its Secret holds, or a token that the GitHub App of that Secret gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agent.adapters.git import GitAuth, GitProxy, HTTPAuth, auth_from_secret
from agent.adapters.identity import GitHubApp, IdentityError, Login
from agent.core.writeback.policy import PolicyError
from agent.errors import AuthenticationError

_APP = "githubApp"
_OWN = ("username", "password", "bearerToken", "identity")
_TOKENS = ("token", "password", "bearerToken")


async def login_of(
    provider: str, url: str, secret: Mapping[str, bytes], name: str, proxy: GitProxy | None
) -> Login | None:
    """A fresh login where the Secret has the keys of a GitHub App, None where it has credentials of its own.

    `provider` is the source's, `name` the Secret's. Raises PolicyError for what a person has to change,
    AuthenticationError where no token is to be had now.
    """
    if not any(key.startswith(_APP) for key in secret):
        if provider not in {"", "generic"} and not any(secret.get(key) for key in _OWN):
            raise PolicyError(
                f"write-backs do not log in by spec.provider {provider}: put username and password of somebody who "
                f"may push{', or the keys of a GitHub App,' if provider == 'github' else ''} into secret {name}"
            )
        return None
    if not url.startswith(("http://", "https://")):
        raise PolicyError(f"secret {name} has a GitHub App, which logs in over https only: change spec.url")
    try:
        app = GitHubApp.from_secret(secret)
    except ValueError as error:
        raise PolicyError(f"secret {name} of the write-back: {error}") from None
    try:
        return await app.login(proxy=proxy.url if proxy is not None else "")
    except IdentityError as error:
        raise AuthenticationError(f"secret {name} of the write-back: {error}") from None


def auth_of(url: str, secret: Mapping[str, bytes], name: str, login: Login | None) -> GitAuth:
    """The credentials for Git; a login takes the place of the Secret's own, whose certificates stay."""
    auth = auth_from_secret(url, secret, name)
    if login is None or not isinstance(auth, HTTPAuth):
        return auth
    return replace(
        auth,
        username=login.username,
        password=login.password,
        bearer_token="",
        identity=login.identity,
        expires=login.expires,
    )


def api_token(secret: Mapping[str, bytes], name: str, login: Login | None) -> str:
    """The token for the server's API. Raises PolicyError."""
    if login is not None:
        return login.password
    token = next((secret[key].decode(errors="replace").strip() for key in _TOKENS if secret.get(key)), "")
    if not token or not token.isprintable():
        raise PolicyError(f"secret {name} has no `token` for the server's API")
    return token
