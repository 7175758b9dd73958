"""Bytes in a ConfigMap: what the agent keeps in the cluster about its own work."""

from __future__ import annotations

import base64
import binascii

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NotFound
from agent.adapters.kube.resource import CONFIG_MAPS

LIMIT = 700 * 1024
"""Bytes that fit: the API server takes a ConfigMap of up to 1 MiB, and these are written in base64."""
_KEY = "data"


class ConfigMapBlob:
    """One ConfigMap, made at the first write."""

    def __init__(self, client: KubeClient, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self.name = name

    async def read(self) -> bytes:
        """What was written last; nothing if nobody has, or if it cannot be read. Raises ApiError."""
        found = await self._client.find(CONFIG_MAPS, self._namespace, self.name)
        try:
            return base64.b64decode((found or {}).get("binaryData", {}).get(_KEY, ""), validate=True)
        except (binascii.Error, AttributeError, TypeError):
            return b""

    async def write(self, data: bytes) -> None:
        """Replace it: one request, two where the ConfigMap is not there. Raises ApiError."""
        body = {"binaryData": {_KEY: base64.b64encode(data).decode()}}
        try:
            await self._client.merge_patch(CONFIG_MAPS, self._namespace, self.name, body, field_manager="weir")
        except NotFound:
            labels = {"app.kubernetes.io/managed-by": "weir"}
            metadata = {"name": self.name, "namespace": self._namespace, "labels": labels}
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **body}
            await self._client.create(CONFIG_MAPS, self._namespace, made)
