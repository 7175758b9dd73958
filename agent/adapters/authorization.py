"""The header that proves who asks, from the keys of a Secret: `token`, or `username` and `password`."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp


def authorization(credentials: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Bearer for a token, which comes first, else Basic; nothing for nobody. Raises KeyError for half a Basic."""
    if not credentials:
        return []
    if "token" in credentials:
        return [("Authorization", f"Bearer {credentials['token']}")]
    return [("Authorization", aiohttp.encode_basic_auth(credentials["username"], credentials["password"]))]
