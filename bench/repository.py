"""The repositories of the scenarios: apps of six objects each, four of which come from a base that all share."""

from __future__ import annotations

import yaml

NAMESPACE = "bench"
OBJECTS = 6
"""Objects of one app."""

_BASE = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: server}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shared}
data: {value: "%s"}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 0
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      serviceAccountName: server
      containers: [{name: server, image: "registry.example/server:1", envFrom: [{configMapRef: {name: shared}}]}]
"""
_OWN = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: own}
data: {value: "%s"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: server}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
"""


def app(number: int) -> str:
    """The name of an app."""
    return f"app-{number:04}"


def own(number: int, value: str) -> dict[str, str]:
    """The files that only one app has."""
    return {f"apps/{app(number)}/own.yaml": _OWN % value}


def shared(value: str) -> dict[str, str]:
    """The base that all apps have."""
    return {"base/objects.yaml": _BASE % value}


def monorepo(apps: int) -> dict[str, str]:
    """All files of a repository of so many apps."""
    files = shared("0") | {"base/kustomization.yaml": "resources: [objects.yaml]\n"}
    for number in range(apps):
        files |= own(number, "0")
        files[f"apps/{app(number)}/kustomization.yaml"] = (
            f"namePrefix: {app(number)}-\nresources: [../../base, own.yaml]\n"
        )
    return files


def never_ready(number: int) -> dict[str, str]:
    """An app that also has a Deployment whose Pod nobody runs."""
    name = f"apps/{app(number)}"
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "stuck"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "stuck"}},
            "template": {
                "metadata": {"labels": {"app": "stuck"}},
                "spec": {"containers": [{"name": "server", "image": "registry.example/server:1"}]},
            },
        },
    }
    return {
        f"{name}/kustomization.yaml": f"namePrefix: {app(number)}-\nresources: [../../base, own.yaml, stuck.yaml]\n",
        f"{name}/stuck.yaml": yaml.safe_dump(deployment),
    }
