"""How the API server addresses a kind of object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from agent.errors import ConfigurationError

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as decoded JSON."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as served: `group` is "" for the core group, `plural` is the name in paths (e.g. "deployments")."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """`v1` or `group/version`, as in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def is_secret(self) -> bool:
        """Whether values of the object must not be quoted anywhere."""
        return self.kind == "Secret" and not self.group

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The encoded URL path of the collection, of one object, or of a subresource of it.

        Raises ConfigurationError for names that would lead elsewhere: they may come from a spec.
        """
        parts = [group_path(self.group, self.version)]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{_segment(namespace)}")
        parts.append(self.plural)
        if name is not None:
            if self.namespaced and not namespace:
                raise ConfigurationError(f"{self.kind} {name!r} needs a namespace")
            parts.append(_segment(name))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


class ListMeta(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "token": "continue"}):
    """The metadata of a listing; `token` asks for the next page and is "" on the last."""

    resource_version: str = ""
    token: str = ""


class Listing(msgspec.Struct):
    """The answer to a request for a listing. The API server sends null for no items."""

    metadata: ListMeta
    items: list[Object] | None = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """A listing, or a page of one: `token` asks for the next page and is "" at the end."""

    items: tuple[Object, ...]
    resource_version: str
    token: str = ""


def _segment(name: str) -> str:
    # An empty name would address the whole collection, and dots would be resolved by the server.
    if name in {"", ".", ".."}:
        raise ConfigurationError(f"{name!r} is not a valid object name")
    return quote(name, safe=":")


def group_path(group: str, version: str) -> str:
    """The URL path under which a group version is served."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


CANARIES = Resource("flagger.app", "v1beta1", "canaries", "Canary", namespaced=True)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob", namespaced=True)
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet", namespaced=True)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", namespaced=True)
CLUSTER_SERVING_RUNTIMES = Resource(
    "serving.kserve.io", "v1alpha1", "clusterservingruntimes", "ClusterServingRuntime", namespaced=False
)
DEVICE_CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
EVENTS = Resource("", "v1", "events", "Event", namespaced=True)
HTTP_ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", namespaced=True)
DESTINATION_RULES = Resource("networking.istio.io", "v1beta1", "destinationrules", "DestinationRule", namespaced=True)
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
JOBS = Resource("batch", "v1", "jobs", "Job", namespaced=True)
KNATIVE_REVISIONS = Resource("serving.knative.dev", "v1", "revisions", "Revision", namespaced=True)
KNATIVE_SERVICES = Resource("serving.knative.dev", "v1", "services", "Service", namespaced=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
LOCAL_MODEL_CACHES = Resource("serving.kserve.io", "v1alpha1", "localmodelcaches", "LocalModelCache", namespaced=False)
LOCAL_MODEL_NAMESPACE_CACHES = Resource(
    "serving.kserve.io", "v1alpha1", "localmodelnamespacecaches", "LocalModelNamespaceCache", namespaced=True
)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod", namespaced=True)
RESOURCE_CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", namespaced=True)
RESOURCE_CLAIM_TEMPLATES = Resource(
    "resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", namespaced=True
)
RESOURCE_SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False)
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota", namespaced=True)
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", namespaced=True)
BUCKETS = Resource("source.toolkit.fluxcd.io", "v1", "buckets", "Bucket", namespaced=True)
EXTERNAL_ARTIFACTS = Resource(
    "source.toolkit.fluxcd.io", "v1", "externalartifacts", "ExternalArtifact", namespaced=True
)
OCI_REPOSITORIES = Resource("source.toolkit.fluxcd.io", "v1", "ocirepositories", "OCIRepository", namespaced=True)
SCALED_OBJECTS = Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject", namespaced=True)
SCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", namespaced=True)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
SERVING_RUNTIMES = Resource("serving.kserve.io", "v1alpha1", "servingruntimes", "ServingRuntime", namespaced=True)
SERVICES = Resource("", "v1", "services", "Service", namespaced=True)
VIRTUAL_SERVICES = Resource("networking.istio.io", "v1beta1", "virtualservices", "VirtualService", namespaced=True)
