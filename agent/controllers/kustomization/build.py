"""From a Kustomization and a source tree to objects ready to be applied, building only when an input changed."""

from __future__ import annotations

import asyncio
import base64
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError, NotFound
from agent.adapters.kube.resource import CONFIG_MAPS, SECRETS
from agent.adapters.renderer import Rendered, RendererPool, Substitution, build_request, folder_of
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.decryption import Decryption
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.inventory import Inventory, inventory_of
from agent.core.normalize import normalized, owner_labels
from agent.core.objects import Manifest, ObjectKey, content_hash, key_of
from agent.core.tree import Inputs, Stat, Tree, unchanged
from agent.errors import ArtifactError, BuildError

_STRATEGY_ALWAYS = "Always"
_DECRYPT = f"{Kustomization.GROUP}/decrypt"


@dataclass(frozen=True, slots=True)
class Built:
    """The objects of one revision, normalised and with owner labels.

    `rendered` are the same objects as JSON, before that; `previous` those of the build before, None if this is the
    first one in this process. `reused` if nothing had to be built. `exposed` are values, of both builds, that are
    encrypted in the source and not to be shown.
    """

    digest: str
    objects: tuple[Manifest, ...]
    inventory: Inventory
    rendered: tuple[bytes, ...]
    previous: tuple[bytes, ...] | None
    reused: bool
    exposed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Render:
    """What kustomize made, and what it made before that, None the first time. `reused` if nothing had to be done."""

    rendered: Rendered
    previous: Rendered | None
    reused: bool

    @property
    def digest(self) -> str:
        """Of the objects."""
        return self.rendered.digest


class _Kept(NamedTuple):
    """A render with the hash of what was asked for, and the tree on which it was last found to be right."""

    wanted: str
    rendered: Rendered
    tree: weakref.ref[Tree]


class Builder:
    """Builds through the renderer; keeps the last result of each Kustomization with the inputs that it came from."""

    def __init__(
        self,
        renderer: RendererPool,
        decryption: Decryption,
        shortcuts: Shortcuts,
        *,
        strict_substitutions: bool = True,
    ) -> None:
        self._renderer = renderer
        self._shortcuts = shortcuts
        self._decryption = decryption
        self._strict = strict_substitutions
        self._last: dict[tuple[str, str], _Kept] = {}
        self._foreseen: dict[tuple[str, str], _Kept] = {}

    def forget(self, key: tuple[str, str]) -> None:
        """Drop what is kept for a Kustomization."""
        self._last.pop(key, None)
        self._foreseen.pop(key, None)

    def inputs(self, key: tuple[str, str]) -> Inputs | None:
        """What the last build of a Kustomization has read, None if there was none."""
        last = self._last.get(key)
        return last.rendered.inputs if last is not None else None

    def check(self, kustomization: Kustomization) -> None:
        """Raises FeatureGateError for a spec that the agent's gates do not allow to be built."""
        self._decryption.require_gate(kustomization)

    async def require_folder(self, kustomization: Kustomization, tree: Tree) -> None:
        """Raises ArtifactError unless the tree has the folder `spec.path`.

        Looks in the same go whether the tree has all that the last build has read, which spares `render` that look.
        """
        path, key = folder_of(kustomization), (kustomization.namespace, kustomization.name)
        last = self._last.get(key)
        if last is not None and last.tree() is tree:
            stat = tree.stat(path)  # what was looked at before is in memory
        else:
            stat, same = await asyncio.to_thread(_look, tree, path, last)
            if last is not None and same and self._last.get(key) is last:
                self._last[key] = last._replace(tree=weakref.ref(tree))
        if stat is None:
            raise ArtifactError(f"kustomization path not found: stat {path}: no such file or directory")
        if stat.kind != "dir":
            raise ArtifactError(f"kustomization path not found: {path} is a file, not a directory")

    async def render(self, kustomization: Kustomization, tree: Tree, client: KubeClient) -> Render:
        """Render, or reuse the last result if neither the spec nor anything that was read has changed.

        Raises BuildError (substitution sources, keys, what kustomize refuses). The path has to be there.
        """
        key = (kustomization.namespace, kustomization.name)
        kept = self._last.get(key)
        wanted, rendered = await self._rendered(kustomization, tree, client)
        self._foreseen.pop(key, None)
        self._last[key] = _Kept(wanted, rendered, weakref.ref(tree))
        previous = kept.rendered if kept is not None else None
        return Render(rendered, previous, reused=previous is rendered)

    async def prepare(self, kustomization: Kustomization, render: Render) -> Built:
        """The objects, ready to be applied. Raises BuildError for what is not fit to be."""
        return await asyncio.to_thread(_prepared, kustomization, render)

    async def foresee(self, kustomization: Kustomization, tree: Tree, client: KubeClient) -> frozenset[ObjectKey]:
        """Which objects the next build will have. The Kustomization's own pass finds the work done, as its first look.

        Raises what `build` raises.
        """
        wanted, rendered = await self._rendered(kustomization, tree, client)
        self._foreseen[kustomization.namespace, kustomization.name] = _Kept(wanted, rendered, weakref.ref(tree))
        return await asyncio.to_thread(_keys, rendered)

    async def _rendered(self, kustomization: Kustomization, tree: Tree, client: KubeClient) -> tuple[str, Rendered]:
        """The render with the hash of what was asked for: the last one, a foreseen one, or a new one."""
        request = build_request(kustomization, await self._substitution(kustomization, client))
        keys = await self._decryption.keys(kustomization)
        wanted = content_hash([msgspec.to_builtins(request), keys.digest() if keys else ""])
        key = (kustomization.namespace, kustomization.name)
        for known in (self._last.get(key), self._foreseen.get(key)):
            if known is None or known.wanted != wanted:
                continue
            if known.tree() is tree or await asyncio.to_thread(unchanged, known.rendered.inputs, tree):
                if self._shortcuts.verify:
                    again = await self._renderer.build(request, tree, self._decryption.session(kustomization, keys))
                    self._shortcuts.compared("build", "/".join(key), same=again.objects == known.rendered.objects)
                return wanted, known.rendered
        return wanted, await self._renderer.build(request, tree, self._decryption.session(kustomization, keys))

    async def rebuild(
        self,
        kustomization: Kustomization,
        tree: Tree,
        client: KubeClient,
        variables: Mapping[tuple[str, str], Mapping[str, str]] | None = None,
    ) -> Rendered:
        """What a spec gives on another tree; nothing is kept.

        `variables`, by kind and name, are those of objects that the cluster need not have.
        """
        request = build_request(kustomization, await self._substitution(kustomization, client, variables or {}))
        keys = await self._decryption.keys(kustomization)
        return await self._renderer.build(request, tree, self._decryption.session(kustomization, keys))

    async def _substitution(
        self,
        kustomization: Kustomization,
        client: KubeClient,
        known: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType({}),
    ) -> Substitution | None:
        post = kustomization.spec.post_build
        if post is None:
            return None
        variables: dict[str, str] = {}
        for reference in post.substitute_from:
            if (reference.kind, reference.name) in known:
                variables.update(known[reference.kind, reference.name])
                continue
            try:
                variables.update(await _variables(client, kustomization.namespace, reference.kind, reference.name))
            except NotFound as error:
                if not reference.optional:
                    raise _substitute_error(reference.kind, reference.name, error) from None
            except ApiError as error:
                raise _substitute_error(reference.kind, reference.name, error) from None
        variables.update(post.substitute or {})
        always = post.substitute_strategy == _STRATEGY_ALWAYS
        if not variables and not always:
            return None
        return Substitution(vars=variables, always=always, strict=self._strict)


def _look(tree: Tree, path: str, last: _Kept | None) -> tuple[Stat | None, bool]:
    """What is at the path, and whether the tree has all that the last build has read."""
    stat = tree.stat(path)
    return stat, stat is not None and last is not None and unchanged(last.rendered.inputs, tree)


def _prepared(kustomization: Kustomization, render: Render) -> Built:
    """Decode and normalise what was rendered.

    Raises BuildError for a Secret that is still encrypted: applying cipher text would break its readers. Whoever opts
    out of the decryption of a Secret means to apply it like that, and hears what the API server says.
    """
    rendered, previous = render.rendered, render.previous
    owner = owner_labels(kustomization.name, kustomization.namespace)
    objects = []
    for document in rendered.objects:
        manifest = msgspec.json.decode(document, type=dict)
        _refuse_cipher_text(manifest)
        objects.append(normalized(manifest, owner))
    return Built(
        rendered.digest,
        tuple(objects),
        inventory_of(objects),
        rendered.objects,
        previous.objects if previous else None,
        render.reused,
        rendered.exposed | (previous.exposed if previous else frozenset()),
    )


def _keys(rendered: Rendered) -> frozenset[ObjectKey]:
    return frozenset(key_of(msgspec.json.decode(document)) for document in rendered.objects)


def _refuse_cipher_text(manifest: Manifest) -> None:
    metadata = manifest["metadata"]
    opted_out = str((metadata.get("annotations") or {}).get(_DECRYPT, "")).lower() == "disabled"
    if manifest["kind"] == "Secret" and manifest["apiVersion"] == "v1" and "sops" in manifest and not opted_out:
        name = f"Secret/{metadata.get('namespace', '')}/{metadata['name']}"
        raise BuildError(
            f"{name} is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
            reason="ReconciliationFailed",
        )


async def _variables(client: KubeClient, namespace: str, kind: str, name: str) -> Mapping[str, str]:
    resource = SECRETS if kind == "Secret" else CONFIG_MAPS
    data = (await client.get(resource, namespace, name)).get("data") or {}
    if kind != "Secret":
        return {key: str(value) for key, value in data.items()}
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def _substitute_error(kind: str, name: str, error: ApiError) -> BuildError:
    return BuildError(f"substitute from '{kind}/{name}' error: {error.message}")
