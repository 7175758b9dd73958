"""Stores of objects, each kept up to date by a watch: what this process follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Forbidden, NotFound
from agent.adapters.kube.resource import Resource
from agent.adapters.kube.watch import KubeListWatch
from agent.api.meta import Resource as ApiResource
from agent.controllers.statuses import resource_of
from agent.errors import OperationError
from agent.runtime.store import Store
from agent.runtime.watch import ObjectKey, Watcher
from agent.telemetry.logging import named, object_context

T = TypeVar("T")
R = TypeVar("R", bound=ApiResource)
_PROBLEM = "watch problem"
_SILENCE = 600.0  # seconds for which the same problem of a watch is not told again


class Following:
    """Collects the watches, for the manager to run. `namespace` is the only one to watch, None for all.

    Without the `required` ones nothing starts; the `optional` ones are of kinds that may not be installed.
    """

    def __init__(
        self, client: KubeClient, *, namespace: str | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.required: list[Watcher[Any]] = []
        self.optional: list[Watcher[Any]] = []
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._problems: dict[str, tuple[str, float]] = {}
        self._log = named("watch")

    def kind(
        self,
        kind: type[R],
        *,
        label_selector: str = "",
        optional: bool = False,
        restrains: bool = False,
        namespace: str = "",
    ) -> Store[R]:
        """One of our kinds, in one namespace if that is named. An object that does not fit its type is told in the log.

        Of an optional kind that `restrains` what others do, only that it is missing, or that it may not be read, is as
        good as a listing: after any other failure there may be objects of it, and nothing starts until they are known.
        """

        def unreadable(key: ObjectKey, message: str) -> None:
            about = object_context(kind.KIND, kind.GROUP, key.namespace, key.name)
            self._log.error("the object cannot be read and is left alone", **about, error=message)

        source = KubeListWatch(
            self._client,
            resource_of(kind),
            kind.decode,
            on_undecodable=unreadable,
            namespace=namespace or self._namespace,
            label_selector=label_selector,
        )
        store: Store[R] = Store()
        watcher = Watcher(
            kind.PLURAL,
            source,
            store.feed,
            on_problem=self._restrained if restrains else self.problem,
            is_answer=_is_refusal if restrains else lambda _error: True,
        )
        (self.optional if optional else self.required).append(watcher)
        return store

    def others(
        self,
        resource: Resource,
        decode: Callable[[bytes], T],
        *,
        label_selector: str = "",
        metadata_only: bool = False,
        namespace: str = "",
    ) -> Store[T]:
        """Objects that somebody else is responsible for, also for being readable; optional. In one namespace if that
        is named."""
        source = KubeListWatch(
            self._client,
            resource,
            decode,
            on_undecodable=lambda _key, _message: None,
            namespace=namespace or self._namespace,
            label_selector=label_selector,
            metadata_only=metadata_only,
        )
        store: Store[T] = Store()
        self.optional.append(Watcher(resource.plural, source, store.feed, on_problem=self.problem))
        return store

    def _restrained(self, name: str, error: OperationError) -> None:
        waits = any(watcher.name == name and not watcher.answered.is_set() for watcher in self.optional)
        self.problem(name, error, "nothing starts before this kind is listed" if waits else _PROBLEM)

    def problem(self, name: str, error: OperationError, message: str = _PROBLEM) -> None:
        """A watch failed. The same again and again, as for a kind that is not installed, is told now and then."""
        known, now = self._problems.get(name), self._clock()
        if known is not None and known[0] == error.message and now - known[1] < _SILENCE:
            self._log.debug(message, watch=name, error=error.message)
            return
        self._problems[name] = (error.message, now)
        self._log.info(message, watch=name, error=error.message)


def _is_refusal(error: OperationError) -> bool:
    return isinstance(error, NotFound | Forbidden)
