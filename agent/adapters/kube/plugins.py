"""Credentials from exec plugins and auth providers, through kubernetes_asyncio.

Imported only for kubeconfigs that ask for one of them. The plugin is run again shortly before its credentials expire
and after the server refused them; a client certificate from a plugin is taken once, when the connection is made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException
from kubernetes_asyncio.config.kube_config import KubeConfigLoader

from agent.errors import AuthenticationError

# The library logs what a failing plugin printed, which may hold credentials.
logging.getLogger("kubernetes_asyncio").setLevel(logging.CRITICAL)


class PluginCredentials:
    """An Authorization header that a plugin renews."""

    def __init__(self, user: Mapping[str, Any]) -> None:
        # The loader sees nothing but the user's plugin: it would write certificates of the kubeconfig to disk.
        plugin = {key: user[key] for key in ("exec", "auth-provider") if key in user}
        self._document = {
            "current-context": "",
            "contexts": [{"name": "", "context": {"cluster": "", "user": "plugin"}}],
            "clusters": [{"name": "", "cluster": {"server": "https://localhost"}}],
            "users": [{"name": "plugin", "user": plugin}],
        }
        self._loader = KubeConfigLoader(self._document)
        self._value: str | None = None
        self._turn = asyncio.Lock()
        self.certificate_files: tuple[str | None, str | None] = (None, None)

    async def authorization(self) -> str | None:
        async with self._turn:
            # Without an expiry the library would run the plugin for every request.
            if self._value is None or hasattr(self._loader, "exec_plugin_expiry") or self._loader.provider:
                self._value = await self._load()
            return self._value

    async def _load(self) -> str | None:
        target = Configuration()
        try:
            await self._loader.load_and_set(target)
        except (ConfigException, OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            # The library's message holds what the plugin printed.
            name = type(error).__name__
            raise AuthenticationError(f"the kubeconfig's credential plugin failed ({name})") from None
        self.certificate_files = (target.cert_file, target.key_file)
        token = target.api_key.get("BearerToken")
        return str(token) if token else None

    def reject(self) -> bool:
        self._loader = KubeConfigLoader(self._document)
        self._value = None
        return True


async def plugin_credentials(user: Mapping[str, Any]) -> tuple[PluginCredentials, tuple[bytes, bytes] | None]:
    """Run the plugin of a kubeconfig's user once.

    Returns the credentials, and the client certificate and key (PEM) that the plugin gave, if any.
    Raises AuthenticationError.
    """
    credentials = PluginCredentials(user)
    await credentials.authorization()
    certificate, key = credentials.certificate_files
    if not certificate or not key:
        return credentials, None
    pair = await asyncio.to_thread(lambda: (Path(certificate).read_bytes(), Path(key).read_bytes()))
    return credentials, pair
