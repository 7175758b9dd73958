"""Writes of our own objects: the finalizer and the status, as small merge patches, never without a change."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Conflict
from agent.adapters.kube.resource import Resource
from agent.api.meta import FINALIZER
from agent.api.meta import Resource as ApiResource
from agent.controllers.fresh import Fresh
from agent.core.statuspatch import status_patch
from agent.errors import WaitingError

R = TypeVar("R", bound=ApiResource)
_CATCH_UP_SECONDS = 0.3


class StaleViewError(WaitingError):
    """The object has a newer version than the one that the pass has read. No news for the status."""


def resource_of(kind: type[ApiResource]) -> Resource:
    """How the API server addresses one of our kinds."""
    return Resource(kind.GROUP, kind.VERSION, kind.PLURAL, kind.KIND, namespaced=True)


class StatusWriter(Generic[R]):
    """For one kind. `manager` is the field manager under which Flux writes that kind's status."""

    def __init__(self, client: KubeClient, kind: type[R], fresh: Fresh[R], manager: str) -> None:
        self._client = client
        self._kind = kind
        self._resource = resource_of(kind)
        self._fresh = fresh
        self._manager = manager

    async def write(self, current: R, status: msgspec.Struct, *, newest: bool = False) -> R:
        """Make `status` the object's status; returns `current` with it. No request if nothing differs.

        Spec, generation and annotations stay those that the pass has read: one that saw an edit of the spec, or a
        request, through the answer to its own write would report it as done. The next pass sees them.

        With `newest` the write is refused unless `current` is the newest version: what is decided upon it must not
        rest on a watch that lags, as one may right after this replica has taken over.

        Raises ApiError; NotFound if the object has been deleted meanwhile; StaleViewError.
        """
        patch = status_patch(current.status, status)  # type: ignore[attr-defined]  # every kind that is written has one
        if not patch:
            return current
        try:
            answer = await self._client.merge_patch(
                self._resource,
                current.namespace,
                current.name,
                {"status": patch},
                subresource="status",
                field_manager=self._manager,
                resource_version=current.metadata.resource_version if newest else None,
            )
        except Conflict as error:
            raise StaleViewError(error.message, after=_CATCH_UP_SECONDS) from None
        written = self._fresh.wrote(self._kind.from_object(answer))
        version = written.metadata.resource_version
        return msgspec.structs.replace(
            current,
            metadata=msgspec.structs.replace(current.metadata, resource_version=version),
            status=written.status,  # type: ignore[attr-defined]  # every kind that is written has one
        )

    async def add_finalizer(self, current: R) -> R:
        """The object with Flux's finalizer; a write only if it is not there yet."""
        if FINALIZER in current.metadata.finalizers:
            return current
        return await self._finalizers(current, [*current.metadata.finalizers, FINALIZER])

    async def remove_finalizer(self, current: R) -> None:
        """Let the API server delete the object."""
        if FINALIZER in current.metadata.finalizers:
            await self._finalizers(current, [name for name in current.metadata.finalizers if name != FINALIZER])

    async def _finalizers(self, current: R, names: list[str]) -> R:
        answer = await self._client.merge_patch(
            self._resource,
            current.namespace,
            current.name,
            {"metadata": {"finalizers": names}},
            field_manager=self._manager,
            resource_version=current.metadata.resource_version,
        )
        return self._fresh.wrote(self._kind.from_object(answer))
