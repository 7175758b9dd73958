"""The MetricTemplate kind (flagger.app/v1beta1), as Flagger defines it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from agent.api.meta import ApiStruct as Struct
from agent.api.meta import CrdOptions, LocalObjectReference, PrinterColumn, Resource, schema

PROVIDER_TYPES = (
    "prometheus",
    "influxdb",
    "datadog",
    "externalmetrics",
    "stackdriver",
    "cloudwatch",
    "newrelic",
    "graphite",
    "dynatrace",
    "keptn",
    "splunk",
)


class MetricProvider(Struct, frozen=True, kw_only=True):
    """The system that answers the query."""

    type: Annotated[str, schema(enum=list(PROVIDER_TYPES))]
    """Kind of system."""
    address: str | None = None
    """Address of the system."""
    headers: dict[str, tuple[str, ...]] | None = None
    """HTTP headers to send along, with their values."""
    secret_ref: LocalObjectReference | None = None
    """Secret with credentials, in the template's namespace: token, or username and password."""
    region: str | None = None
    """Region of a cloud's system."""
    insecure_skip_verify: bool = False
    """Accepts any certificate."""


class MetricTemplateSpec(Struct, frozen=True, kw_only=True):
    """A query and the system that answers it."""

    provider: MetricProvider
    """The system that answers the query."""
    query: str
    """The query; {{ target }} and the like are filled in."""


class MetricTemplate(Resource, frozen=True, kw_only=True):
    """A query for a number that Canaries are judged by."""

    GROUP: ClassVar[str] = "flagger.app"
    VERSION: ClassVar[str] = "v1beta1"
    API_VERSION: ClassVar[str] = "flagger.app/v1beta1"
    KIND: ClassVar[str] = "MetricTemplate"
    PLURAL: ClassVar[str] = "metrictemplates"
    CRD: ClassVar[CrdOptions] = CrdOptions(
        categories=("all",),
        columns=(PrinterColumn("Provider", ".spec.provider.type"),),
    )

    spec: MetricTemplateSpec
