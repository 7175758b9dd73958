"""The AlertProvider kind (flagger.app/v1beta1), as Flagger defines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from agent.api.meta import ApiStruct as Struct
from agent.api.meta import CrdOptions, LocalObjectReference, PrinterColumn, Resource, schema


class AlertProviderSpec(Struct, frozen=True, kw_only=True):
    """A chat system and how to reach it: by an address, or by a Secret that holds one."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "oneOf": [{"required": ["type", "address"]}, {"required": ["type", "secretRef"]}],
    }

    type: Annotated[str, schema(enum=["slack", "msteams", "discord", "rocket", "gchat"])] = ""
    """Kind of chat system."""
    channel: str | None = None
    """Channel to write to."""
    username: str | None = None
    """Name to write under."""
    address: str | None = None
    """Address of the incoming webhook."""
    proxy: str | None = None
    """HTTP proxy to go through."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the keys address and, for Slack, token."""


class AlertProvider(Resource, frozen=True, kw_only=True):
    """Where messages about rollouts are sent."""

    GROUP: ClassVar[str] = "flagger.app"
    VERSION: ClassVar[str] = "v1beta1"
    API_VERSION: ClassVar[str] = "flagger.app/v1beta1"
    KIND: ClassVar[str] = "AlertProvider"
    PLURAL: ClassVar[str] = "alertproviders"
    CRD: ClassVar[CrdOptions] = CrdOptions(
        categories=("all",),
        columns=(PrinterColumn("Type", ".spec.type"),),
    )

    spec: AlertProviderSpec
