"""Secrets of the servers that a rollout asks."""

from __future__ import annotations

import base64
import binascii

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.resource import SECRETS


class MissingCredentialsError(Exception):
    """The Secret of a server cannot be used; the text says why and holds nothing of it."""


async def credentials_of(client: KubeClient, namespace: str, name: str) -> dict[str, str]:
    """What a Secret holds, as text. Raises MissingCredentialsError."""
    try:
        secret = await client.get(SECRETS, namespace, name)
    except ApiError as error:
        raise MissingCredentialsError(f"secret {name} error: {error.message}") from error
    try:
        data = secret.get("data") or {}
        return {key: base64.b64decode(value).decode().strip() for key, value in data.items()}
    except (binascii.Error, UnicodeDecodeError):
        raise MissingCredentialsError(f"secret {name} error: a value is not text") from None
