"""CRDs of other projects, as little of them as the API server needs to keep what a router writes.

They are ours, written for these tests: structural, and they keep unknown fields. What their controllers would do with
the objects is not tested here.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from testbed.kube import Admin, Object


def crd(group: str, version: str, kind: str, plural: str) -> Object:
    """A namespaced kind that keeps whatever is written, with a status subresource."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}
                    },
                }
            ],
        },
    }


async def serve(admin: Admin, folder: Path, definitions: Iterable[Object]) -> None:
    """Apply definitions and wait until the API server serves them. `folder` is for files on the way."""
    files = []
    for definition in definitions:
        files.append(folder / f"{definition['metadata']['name']}.yaml")
        files[-1].write_text(json.dumps(definition))
    await admin.apply_files(files)


ISTIO_API = "networking.istio.io/v1beta1"
ISTIO = (
    crd("networking.istio.io", "v1beta1", "VirtualService", "virtualservices"),
    crd("networking.istio.io", "v1beta1", "DestinationRule", "destinationrules"),
)
KEPTN_API = "metrics.keptn.sh/v1beta1"
KEPTN = (
    crd("metrics.keptn.sh", "v1beta1", "KeptnMetric", "keptnmetrics"),
    crd("metrics.keptn.sh", "v1beta1", "Analysis", "analyses"),
)
KEDA_API = "keda.sh/v1alpha1"
KEDA = (crd("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),)
KNATIVE_API = "serving.knative.dev/v1"
KNATIVE = (
    crd("serving.knative.dev", "v1", "Service", "services"),
    crd("serving.knative.dev", "v1", "Revision", "revisions"),
)
