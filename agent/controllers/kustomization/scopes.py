"""Objects of cluster-wide kinds lose the namespace that kustomize gives to every kind that it does not know."""

from __future__ import annotations

from dataclasses import replace

from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import ApiError
from agent.controllers.kustomization.build import Built
from agent.core.inventory import inventory_of
from agent.core.objects import Manifest, without_namespace


async def scoped(built: Built, discovery: Discovery) -> Built:
    """`built` under the names that the API server uses. A kind that it does not have yet keeps what it was given."""
    objects = tuple([await _scoped(manifest, discovery) for manifest in built.objects])
    if all(one is other for one, other in zip(objects, built.objects, strict=True)):
        return built
    return replace(built, objects=objects, inventory=inventory_of(objects))


async def _scoped(manifest: Manifest, discovery: Discovery) -> Manifest:
    if not manifest["metadata"].get("namespace"):
        return manifest
    try:
        resource = await discovery.resource(manifest["apiVersion"], manifest["kind"])
    except ApiError:
        return manifest
    return manifest if resource.namespaced else without_namespace(manifest)
