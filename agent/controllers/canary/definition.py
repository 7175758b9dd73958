"""Looks, now and then, whether the CustomResourceDefinition of Canaries has the fields of a status that Weir adds.

Flagger's own definition drops what it does not know. Whoever comes from Flagger often still has it, for Helm does not
renew definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError, NotFound, decoded
from agent.core.rollout.definition import lacking

_PATH = "/openapi/v3/apis/flagger.app/v1beta1"
_EVERY, _SOON = 600.0, 15.0
"""Seconds between two looks: where something is missing, or nothing was learned, there is another one soon."""


class DefinitionWatch:
    """Remembers what was found, through times in which the API server does not say."""

    def __init__(self, client: KubeClient, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._lacking: frozenset[str] | None = None
        self._again = 0.0

    async def lacking(self) -> frozenset[str]:
        """Names of status fields that would be dropped. Raises ApiError as long as that was never learned: a run that
        goes on as if nothing were dropped may lose its judge, and be promoted without."""
        if self._lacking is not None and self._clock() < self._again:
            return self._lacking
        try:
            found = await self._read()
        except ApiError as error:
            if self._lacking is None:
                error.explain(f"{_PATH} tells what a Canary's status keeps, nothing is rolled out before that is known")
                raise
            found = None
        self._again = self._clock() + (_EVERY if found == frozenset() else _SOON)
        self._lacking = found if found is not None else self._lacking or frozenset()
        return self._lacking

    async def _read(self) -> frozenset[str] | None:
        """None if nothing of Canaries is published: where their definition is new, that comes a moment later."""
        try:
            answer = await self._client.raw("GET", _PATH, resource="openapi")
        except NotFound:
            return None
        return lacking(decoded(answer, dict[str, Any], _PATH))
