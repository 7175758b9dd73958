"""The header that proves who asks, from the keys of a Secret: `token`, or `username` and `password`."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp


class UnusableCredentialsError(Exception):
    """No header can be made of them; the text says why and holds nothing of them."""


def authorization(credentials: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Bearer for a token, which comes first, else Basic; nothing for nobody, which None is and an empty Secret is not.

    Raises UnusableCredentialsError.
    """
    if credentials is None:
        return []
    value = f"Bearer {credentials['token']}" if "token" in credentials else _basic(credentials)
    if not value.isprintable():
        raise UnusableCredentialsError("it has characters that no header may have")
    return [("Authorization", value)]


def _basic(credentials: Mapping[str, str]) -> str:
    for key in ("username", "password"):
        if key not in credentials:
            raise UnusableCredentialsError(f"it has neither a token nor a {key}")
    if ":" in credentials["username"]:
        raise UnusableCredentialsError(
            "its username has a colon, with which it cannot be told from the password: use another username, or a token"
        )
    return aiohttp.encode_basic_auth(credentials["username"], credentials["password"])
