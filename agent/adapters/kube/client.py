"""The Kubernetes API as a handful of verbs.

A thin client: objects are the API's own JSON as dictionaries (or bytes, to be decoded by the caller), requests and
watches share one session, and every failure is an `ApiError`. Server-side apply is the way to write manifests.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import msgspec

from agent.adapters.kube.config import Cluster
from agent.adapters.kube.errors import Gone, NotFound, decoded
from agent.adapters.kube.ratelimit import RateLimit
from agent.adapters.kube.resource import Listing, ListPage, Object, Resource
from agent.adapters.kube.transport import Call, OnRequest, Transport

Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]
Subresource: TypeAlias = Literal["status", "scale"]
FieldValidation: TypeAlias = Literal["Ignore", "Warn", "Strict"]
Pairs: TypeAlias = tuple[tuple[str, str], ...]

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
PAGE = 500
METHODS = {"apply": "PATCH", "patch": "PATCH", "create": "POST", "update": "PUT", "delete": "DELETE"}
"""HTTP methods of the verbs; those that read, and are not here, are GET."""


class KubeClient:
    """See the module. `async with KubeClient(cluster) as client:` opens and closes the session.

    `limit` bounds the requests in flight and `rate` those in a second; `timeout` is the default deadline of a call in
    seconds (with retries), and `on_request(verb, resource, code, seconds)` is told of every attempt. Connection
    errors, 429 and 5xx are retried a few times within the deadline, where repeating the call cannot do harm. `largest`
    is the most bytes that an answer may have, None for a server that is trusted.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        limit: int = 32,
        timeout: float = 30.0,
        rate: RateLimit | None = None,
        largest: int | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self.cluster = cluster
        self._transport = Transport(
            cluster, limit=limit, timeout=timeout, rate=rate, largest=largest, on_request=on_request
        )
        self._identity: Pairs = ()
        self._owner = True

    def fence(self, may_write: Callable[[], bool]) -> None:
        """Send writes only while `may_write()` holds, from this client and from those made of it."""
        self._transport.may_write = may_write

    def may_write(self) -> bool:
        """False if writes are not sent: see `fence`."""
        return self._transport.may_write()

    async def __aenter__(self) -> Self:
        if self._owner:
            await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._owner:
            await self._transport.__aexit__(kind, error, traceback)

    @property
    def acting_as(self) -> str:
        """The user that requests are made in the name of, "" for the connection's own."""
        return self._identity[0][1] if self._identity else ""

    def as_service_account(self, namespace: str, name: str) -> KubeClient:
        """The same session, acting as a service account (impersonation).

        The API server adds a service account's groups itself. Asking for them would take the right to impersonate
        groups, which is far more than the right to impersonate service accounts.
        """
        other = copy.copy(self)
        other._owner = False  # noqa: SLF001 - a copy of our own
        other._identity = (("Impersonate-User", f"system:serviceaccount:{namespace}:{name}"),)  # noqa: SLF001
        return other

    # Reading

    async def get(self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False) -> Object:
        """The object, or its metadata alone. Raises NotFound."""
        accept = METADATA if metadata_only else JSON
        return await self._object(self._call("get", resource, resource.path(namespace, name), accept=accept))

    async def find(
        self, resource: Resource, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> Object | None:
        """The object, or None where it does not exist."""
        try:
            return await self.get(resource, namespace, name, metadata_only=metadata_only)
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        limit: int = PAGE,
    ) -> ListPage:
        """All objects of a kind, fetched in pages of `limit`."""
        items: tuple[Object, ...] = ()
        token = ""
        while True:
            try:
                page = await self.list_page(
                    resource,
                    namespace,
                    label_selector=label_selector,
                    field_selector=field_selector,
                    metadata_only=metadata_only,
                    limit=limit,
                    token=token,
                )
            except Gone:
                if not token:
                    raise
                # The pages have expired under us; in one piece it cannot happen again.
                items, token, limit = (), "", 0
                continue
            items += page.items
            token = page.token
            if not token:
                return ListPage(items, page.resource_version)

    async def list_page(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        limit: int = PAGE,
        token: str = "",
    ) -> ListPage:
        """One page of a listing. Raises Gone when the token has expired."""
        body = await self.list_bytes(
            resource,
            namespace,
            params=_given(labelSelector=label_selector, fieldSelector=field_selector),
            metadata_only=metadata_only,
            limit=limit,
            token=token,
        )
        page = decoded(body, Listing, f"list {resource.plural}")
        kind = {} if metadata_only else {"apiVersion": resource.api_version, "kind": resource.kind}
        # Built-in kinds leave apiVersion and kind out of list items.
        return ListPage(
            tuple({**kind, **item} for item in page.items or ()), page.metadata.resource_version, page.metadata.token
        )

    async def list_bytes(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        params: Pairs = (),
        metadata_only: bool = False,
        limit: int = PAGE,
        token: str = "",
    ) -> bytes:
        """One page of a listing as the server sent it, for callers that decode into their own types."""
        paging = _given(limit=str(limit) if limit else "", **{"continue": token})
        accept = METADATA_LIST if metadata_only else JSON
        call = self._call("list", resource, resource.path(namespace), params=params + paging, accept=accept)
        return await self._transport.send(call)

    def watch_bytes(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        params: Pairs,
        metadata_only: bool = False,
        idle: float,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The chunks of a watch; see `agent.adapters.kube.watch` for its use."""
        accept = METADATA if metadata_only else JSON
        watching = (("watch", "1"), *params)
        call = self._call("watch", resource, resource.path(namespace), params=watching, accept=accept)
        return self._transport.stream(call, idle=idle)

    # Writing

    async def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: bytes | Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = True,
        dry_run: bool = False,
        subresource: Literal["status"] | None = None,
        metadata_only: bool = False,
        field_validation: FieldValidation | None = None,
    ) -> Object:
        """Server-side apply; `body` is JSON. Returns the object as it is (or would be) afterwards.

        Raises Conflict (with causes) when another manager owns a field and `force` is off.
        """
        params = _given(
            fieldManager=field_manager,
            force="true" if force else "false",
            dryRun="All" if dry_run else "",
            fieldValidation=field_validation or "",
        )
        path = resource.path(namespace, name, subresource)
        accept = METADATA if metadata_only else JSON
        content, data = APPLY_PATCH, _encoded(body)
        call = self._call("apply", resource, path, params=params, body=data, content_type=content, accept=accept)
        return await self._object(call)

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: bytes | Mapping[str, Any],
        *,
        field_manager: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Create the object. Raises AlreadyExists."""
        params = _given(fieldManager=field_manager, dryRun="All" if dry_run else "")
        path, data = resource.path(namespace), _encoded(body)
        return await self._object(self._call("create", resource, path, params=params, body=data, idempotent=False))

    async def replace(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: bytes | Mapping[str, Any],
        *,
        field_manager: str = "",
    ) -> Object:
        """Replace the object. Raises Conflict when the body's resourceVersion is not the current one."""
        params = _given(fieldManager=field_manager)
        path, data = resource.path(namespace, name), _encoded(body)
        return await self._object(self._call("update", resource, path, params=params, body=data, idempotent=False))

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: Subresource | None = None,
        field_manager: str = "",
        resource_version: str | None = None,
    ) -> Object:
        """JSON merge patch; None deletes a key. Raises Conflict when `resource_version` is not the current one."""
        if resource_version is not None:
            body = {**body, "metadata": {**body.get("metadata", {}), "resourceVersion": resource_version}}
        params = _given(fieldManager=field_manager)
        path = resource.path(namespace, name, subresource)
        # With a precondition, a repetition after a lost answer would report a conflict with itself.
        safe = resource_version is None
        content, data = MERGE_PATCH, _encoded(body)
        call = self._call("patch", resource, path, params=params, body=data, content_type=content, idempotent=safe)
        return await self._object(call)

    async def json_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        subresource: Subresource | None = None,
        field_manager: str = "",
    ) -> Object:
        """JSON patch (RFC 6902). Raises Invalid when a `test` operation fails."""
        params = _given(fieldManager=field_manager)
        path = resource.path(namespace, name, subresource)
        content, data = JSON_PATCH, msgspec.json.encode(operations)
        call = self._call("patch", resource, path, params=params, body=data, content_type=content, idempotent=False)
        return await self._object(call)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: Propagation = "Background",
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> None:
        """Delete the object. Raises NotFound, and Conflict when uid or resource version are not the current ones."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = dict(_given(uid=uid or "", resourceVersion=resource_version or ""))
        if preconditions:
            options["preconditions"] = preconditions
        if dry_run:
            options["dryRun"] = ["All"]
        path, data = resource.path(namespace, name), msgspec.json.encode(options)
        await self._transport.send(self._call("delete", resource, path, body=data))

    async def raw(
        self,
        method: str,
        path: str,
        *,
        params: Pairs = (),
        body: bytes | None = None,
        headers: Pairs = (),
        resource: str = "raw",
        timeout: float | None = None,
    ) -> bytes:
        """Any other request, by encoded path. Repeated on failure only if the method is GET."""
        call = Call(
            verb=method.lower(),
            resource=resource,
            method=method,
            path=path,
            params=params,
            headers=(*headers, *self._identity),
            body=body,
            idempotent=method == "GET",
            secret=resource == "secrets",
            timeout=timeout,
        )
        return await self._transport.send(call)

    def _call(
        self,
        verb: str,
        resource: Resource,
        path: str,
        *,
        params: Pairs = (),
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        idempotent: bool = True,
    ) -> Call:
        content = (("Content-Type", content_type),) if body is not None else ()
        return Call(
            verb=verb,
            resource=resource.plural,
            method=METHODS.get(verb, "GET"),
            path=path,
            params=params,
            headers=(("Accept", accept), *content, *self._identity),
            body=body,
            idempotent=idempotent,
            secret=resource.is_secret,
        )

    async def _object(self, call: Call) -> Object:
        return decoded(await self._transport.send(call), Object, f"{call.verb} {call.resource}")


def _encoded(body: bytes | Mapping[str, Any]) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


def _given(**params: str) -> Pairs:
    """The parameters that have a value."""
    return tuple((name, value) for name, value in params.items() if value)
