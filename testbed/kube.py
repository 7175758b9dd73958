"""A very small Kubernetes client for tests: objects are dictionaries, found by apiVersion, kind, namespace and name.

It is independent of the agent on purpose, so that a fault of the agent's client cannot hide in a test of the agent.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import yaml

Object = dict[str, Any]
Objects = list[Object]
PatchType = Literal["merge", "strategic", "json"]
Propagation = Literal["Background", "Foreground", "Orphan"]

_PATCH_TYPES: dict[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
_CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
# Gone (the watch is too old), too many requests, and what a starting or stopping server answers.
_BUSY, _ATTEMPTS = 429, 10
_PASSING = frozenset({410, _BUSY, 500, 502, 503, 504})
# A watch event carries a whole object, the largest of which is a good megabyte.
_LONGEST_LINE = 8 * 1024 * 1024
_PATIENCE = 120.0
"""Seconds; nobody has to wait for so long unless the machine is far too busy, and then a test still tells the truth."""


class ApiError(Exception):
    """The API server answered with an error; `status` is the HTTP code and `reason` the word of the Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class UnknownKindError(LookupError):
    """The API server serves no such kind."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a kind is served: the path of its API version, its plural name, whether it lives in namespaces."""

    base: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Request path; a namespaced kind without a namespace means all of them (lists only)."""
        parts = [self.base]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


class Admin:
    """Requests as one user; an asynchronous context manager. Every request raises ApiError when it is refused."""

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        self._url = url
        self._ca_file = ca_file
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self._resources: dict[tuple[str, str], Resource] = {}

    async def __aenter__(self) -> Self:
        trust = ssl.create_default_context(cafile=str(self._ca_file))
        self._session = aiohttp.ClientSession(
            self._url,
            connector=aiohttp.TCPConnector(ssl=trust, limit=0),
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=_PATIENCE),
            read_bufsize=_LONGEST_LINE,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Any:
        """The decoded JSON answer of one request. `path` starts with a slash.

        A server that asks to come back later (429), as it does for custom resources right after its start, is asked
        again a few times.
        """
        assert self._session is not None, "used outside of its context"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data is not None else {}
        attempts = 0
        while True:
            attempts += 1
            async with self._session.request(method, path, params=params, data=data, headers=headers) as response:
                if response.status != _BUSY or attempts == _ATTEMPTS:
                    await _refuse(response)
                    return await response.json(content_type=None)
            await asyncio.sleep(1)

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Where `kind` is served. Raises UnknownKindError."""
        if (api_version, kind) not in self._resources:
            base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            try:
                listed = (await self.request("GET", base))["resources"]
            except ApiError as refused:
                if refused.status != 404:
                    raise
                listed = []
            for entry in listed:
                if "/" not in entry["name"]:
                    found = Resource(base, entry["name"], entry["namespaced"])
                    self._resources[api_version, entry["kind"]] = found
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise UnknownKindError(f"{api_version} {kind}") from None

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str, subresource: str = "") -> Object:
        """One object."""
        resource = await self.resource(api_version, kind)
        found: Object = await self.request("GET", resource.path(namespace, name, subresource))
        return found

    async def find(self, api_version: str, kind: str, namespace: str | None, name: str) -> Object | None:
        """One object, or None when it does not exist."""
        try:
            return await self.get(api_version, kind, namespace, name)
        except ApiError as refused:
            if refused.status == 404:
                return None
            raise

    async def list(self, api_version: str, kind: str, namespace: str | None = None, selector: str = "") -> Objects:
        """All objects of a kind that match the label selector, of one namespace or of all; with apiVersion and kind."""
        resource = await self.resource(api_version, kind)
        params = {"labelSelector": selector} if selector else None
        answer = await self.request("GET", resource.path(namespace), params=params)
        # The items of a list do not repeat what kind they are.
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]

    async def create(self, obj: Object) -> Object:
        """Create `obj`; as the server stored it."""
        resource, namespace, _ = await self._locate(obj)
        created: Object = await self.request("POST", resource.path(namespace), body=obj)
        return created

    async def apply(self, obj: Object, *, field_manager: str = "test", force: bool = True) -> Object:
        """Server-side apply."""
        resource, namespace, name = await self._locate(obj)
        applied: Object = await self.request(
            "PATCH",
            resource.path(namespace, name),
            params={"fieldManager": field_manager, "force": str(force).lower()},
            body=obj,
            content_type="application/apply-patch+yaml",
        )
        return applied

    async def patch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        name: str,
        patch: object,
        *,
        patch_type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "test",
    ) -> Object:
        """Patch one object or a subresource such as ``status``."""
        resource = await self.resource(api_version, kind)
        patched: Object = await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            params={"fieldManager": field_manager},
            body=patch,
            content_type=_PATCH_TYPES[patch_type],
        )
        return patched

    async def delete(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        name: str,
        *,
        propagation: Propagation = "Background",
        missing_ok: bool = False,
    ) -> None:
        """Ask for the deletion of one object; finalizers may keep it for a while."""
        resource = await self.resource(api_version, kind)
        try:
            await self.request("DELETE", resource.path(namespace, name), body={"propagationPolicy": propagation})
        except ApiError as refused:
            if not (missing_ok and refused.status == 404):
                raise

    async def log(self, namespace: str, pod: str, **query: str) -> str:
        """What a container has written (`pods/log`); `query` holds parameters such as tailLines."""
        return await self.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", **query)

    async def text(self, path: str, **query: str) -> str:
        """An answer that is no JSON, such as that of `/metrics`."""
        assert self._session is not None, "used outside of its context"
        async with self._session.get(path, params=query) as response:
            await _refuse(response)
            return await response.text()

    async def token(self, namespace: str, service_account: str, *, seconds: int = 3600) -> str:
        """A bearer token of a ServiceAccount (TokenRequest) that is valid for `seconds`."""
        resource = await self.resource("v1", "ServiceAccount")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        answer = await self.request("POST", resource.path(namespace, service_account, "token"), body=body)
        return str(answer["status"]["token"])

    async def wait_for(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        name: str,
        predicate: Callable[[Object | None], bool],
        *,
        timeout: float = _PATIENCE,
    ) -> Object | None:
        """Watch one object until `predicate` holds for it; it is given None while the object does not exist.

        Returns the object for which it held. Raises TimeoutError, with the last state, after `timeout` seconds.
        """
        last: Object | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    async with contextlib.aclosing(self._states(api_version, kind, namespace, name)) as states:
                        async for state in states:
                            last = state
                            if predicate(state):
                                return state
                    await asyncio.sleep(0.2)  # the server ended the watch or is away
        except TimeoutError:
            raise TimeoutError(f"{kind} {namespace or ''}/{name} after {timeout:g} s: {_summary(last)}") from None

    async def history(
        self, api_version: str, kind: str, namespace: str, resource_version: str
    ) -> AsyncGenerator[Object, None]:
        """Every version of every object of a kind that was or is written after a resource version, in order.

        Ends when the watch does or the server is away.
        """
        path = (await self.resource(api_version, kind)).path(namespace)
        async with contextlib.aclosing(self._watch(path, {"resourceVersion": resource_version})) as events:
            async for event in events:
                if event["type"] in {"ADDED", "MODIFIED"}:
                    yield event["object"]

    async def apply_files(self, paths: Iterable[Path], *, timeout: float = _PATIENCE) -> Objects:
        """Apply every document of YAML files: definitions first, until they are served, then the rest in order."""
        documents = await asyncio.to_thread(lambda: [obj for path in paths for obj in read_documents(path)])
        definitions = [obj for obj in documents if obj["kind"] == _CRD[1]]
        async with asyncio.timeout(timeout):
            # Dozens of definitions at once are quicker than one after the other, and the server copes.
            applied = list(await asyncio.gather(*(self.apply(obj) for obj in definitions)))
            for obj in definitions:
                await self._served(obj)
        applied += [await self.apply(obj) for obj in documents if obj["kind"] != _CRD[1]]
        return applied

    async def _served(self, definition: Object) -> None:
        name = definition["metadata"]["name"]
        await self.wait_for(*_CRD, None, name, lambda crd: condition(crd, "Established") == "True")
        spec = definition["spec"]
        for version in (entry["name"] for entry in spec["versions"] if entry["served"]):
            while True:
                # Discovery and the handler follow the condition a moment later.
                with contextlib.suppress(UnknownKindError, ApiError):
                    resource = await self.resource(f"{spec['group']}/{version}", spec["names"]["kind"])
                    await self.request("GET", resource.path(None), params={"limit": "1"})
                    break
                await asyncio.sleep(0.05)

    async def _locate(self, obj: Object) -> tuple[Resource, str | None, str]:
        resource = await self.resource(obj["apiVersion"], obj["kind"])
        meta = obj["metadata"]
        namespace = meta.get("namespace", "default") if resource.namespaced else None
        return resource, namespace, meta.get("name", "")

    async def _states(
        self, api_version: str, kind: str, namespace: str | None, name: str
    ) -> AsyncGenerator[Object | None, None]:
        """The object now, then after each change; None when absent. Ends when the watch does or the server is away."""
        selector = {"fieldSelector": f"metadata.name={name}"}
        try:
            path = (await self.resource(api_version, kind)).path(namespace)
            answer = await self.request("GET", path, params=selector)
        except (aiohttp.ClientError, TimeoutError):
            return
        except ApiError as refused:
            if refused.status not in _PASSING:
                raise
            return
        yield answer["items"][0] if answer["items"] else None
        params = selector | {"resourceVersion": answer["metadata"]["resourceVersion"]}
        async with contextlib.aclosing(self._watch(path, params)) as events:
            async for event in events:
                yield None if event["type"] == "DELETED" else event["object"]

    async def _watch(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[Object, None]:
        """The events of a watch. Ends when the watch does or the server is away."""
        assert self._session is not None, "used outside of its context"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with self._session.get(path, params={**params, "watch": "true"}, timeout=timeout) as response:
                await _refuse(response)
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield event
        except (aiohttp.ClientError, TimeoutError):
            return
        except ApiError as refused:
            if refused.status not in _PASSING:
                raise


def condition(obj: Object | None, kind: str) -> str:
    """Status of the condition `kind` of `obj`; empty when there is none."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((str(entry["status"]) for entry in conditions if entry["type"] == kind), "")


def read_documents(path: Path) -> list[Object]:
    """The objects of a YAML file; empty documents are left out."""
    with path.open("rb") as stream:
        return [document for document in yaml.load_all(stream, Loader=yaml.CSafeLoader) if document]


async def _refuse(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    text = await response.text()
    try:
        status = json.loads(text)
        reason, message = str(status.get("reason", "")), str(status.get("message", text))
    except (ValueError, AttributeError):
        reason, message = response.reason or "", text
    raise ApiError(response.status, reason, message)


def _summary(obj: Object | None) -> str:
    return "absent" if obj is None else json.dumps(obj.get("status", obj.get("metadata")))[:2000]
