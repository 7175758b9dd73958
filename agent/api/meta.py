"""What all kinds share: object metadata, conditions, artifacts, references, and the base of every API type.

The types decode what the API server stores and keep quiet about fields they do not know. Patterns, enums and
lengths are written beside the fields but only go into the CRD: the API server enforces them on writes, and an
object stored before a rule existed (Kubernetes ratchets validation) must still decode.
A string literal under a field is that field's documentation and becomes its description in the CRD.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

import msgspec

REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"
"""Annotation by which a person or a webhook asks for a pass; its value only has to change."""

FINALIZER = "finalizers.fluxcd.io"
"""The finalizer that Flux's controllers put on sources and Kustomizations."""

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"


def schema(**keywords: Any) -> msgspec.Meta:
    """OpenAPI keywords for a field of the CRD that decoding does not check."""
    return msgspec.Meta(extra_json_schema=keywords)


Duration = Annotated[str, schema(pattern=DURATION_PATTERN)]
Int64 = Annotated[int, schema(format="int64")]
Time = Annotated[datetime, schema(format="date-time")]


class ApiStruct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of every API type: immutable, camel-cased on the wire, defaults left out, unknown fields ignored."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {}
    """OpenAPI keywords that hold for the object as a whole, such as CEL rules."""


class LocalObjectReference(ApiStruct, frozen=True, kw_only=True):
    """Names an object in the same namespace."""

    name: str
    """Name of the object."""


class OwnerReference(ApiStruct, frozen=True, kw_only=True):
    """Points at an object that this one belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(ApiStruct, frozen=True, kw_only=True):
    """The part of Kubernetes object metadata that is ever read here."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class Condition(ApiStruct, frozen=True, kw_only=True):
    """One observed aspect of an object's state."""

    type: Annotated[
        str,
        schema(
            maxLength=316,
            pattern=(
                r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
                r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
            ),
        ),
    ]
    """The aspect, in CamelCase, such as Ready."""
    status: Annotated[str, schema(enum=["True", "False", "Unknown"])]
    """Whether the aspect holds."""
    reason: Annotated[str, schema(minLength=1, maxLength=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, as one CamelCase word that programs may match."""
    message: Annotated[str, schema(maxLength=32768)]
    """Why, for people."""
    last_transition_time: Time
    """When the condition last changed."""
    observed_generation: Annotated[int, schema(format="int64", minimum=0)] = 0
    """The metadata.generation that the condition speaks about."""


class Artifact(ApiStruct, frozen=True, kw_only=True):
    """A packed copy of a source at one revision, ready to be downloaded."""

    digest: Annotated[str, schema(pattern=r"^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$")]
    """Checksum of the file, as algorithm:hex."""
    last_update_time: Time
    """When the artifact was last written."""
    path: str
    """Location of the file below the storage root."""
    revision: str
    """What the content was taken from, such as main@sha1:<commit>."""
    url: str
    """Address from which consumers in the cluster fetch the file."""
    size: Int64 | None = None
    """Length of the file in bytes."""
    metadata: dict[str, str] | None = None
    """Annotations of the upstream object, such as those of an OCI manifest."""


class PrinterColumn(msgspec.Struct, frozen=True):
    """One column of `kubectl get`; priority 1 shows only with `-o wide`."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0

    def to_object(self) -> dict[str, Any]:
        """The column as the CRD has it."""
        column: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.json_path}
        return {**column, "priority": self.priority} if self.priority else column


AGE_COLUMN = PrinterColumn("Age", ".metadata.creationTimestamp", "date")
READY_COLUMN = PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status')
STATUS_COLUMN = PrinterColumn("Status", '.status.conditions[?(@.type=="Ready")].message')


class CrdOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a CRD says besides its schema."""

    categories: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()
    columns: tuple[PrinterColumn, ...] = ()
    has_status: bool = True
    status_default: Mapping[str, Any] | None = None
    annotations: Mapping[str, str] = {}


class Resource(ApiStruct, frozen=True, kw_only=True):
    """Base of the kinds. Group, version and kind belong to the class, so they are not fields."""

    GROUP: ClassVar[str]
    VERSION: ClassVar[str]
    API_VERSION: ClassVar[str]
    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    CRD: ClassVar[CrdOptions]

    metadata: ObjectMeta = ObjectMeta()

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def requested_at(self) -> str | None:
        """The value of the annotation that asks for a pass, if there is one."""
        return self.metadata.annotations.get(REQUESTED_AT)

    @property
    def is_deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The object in a JSON document. Raises msgspec.DecodeError (ValidationError where a type is wrong)."""
        value: Self = _decoder(cls).decode(data)
        return value

    @classmethod
    def from_object(cls, value: Mapping[str, Any]) -> Self:
        """The object in an already parsed document. Raises msgspec.ValidationError."""
        return msgspec.convert(value, cls)

    def to_object(self) -> dict[str, Any]:
        """The object as plain JSON values, with apiVersion and kind."""
        body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return {"apiVersion": self.API_VERSION, "kind": self.KIND, **body}


@functools.cache
def _decoder(cls: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls)
