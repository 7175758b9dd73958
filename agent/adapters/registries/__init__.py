"""Asks hubs, registries and object stores what references mean now."""

from __future__ import annotations

from agent.adapters.registries.access import Access
from agent.adapters.registries.resolver import Resolver

__all__ = ["Access", "Resolver"]
