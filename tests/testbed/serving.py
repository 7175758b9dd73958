"""Objects that the tests of node and gateway deploy: model servers and what routes to them."""

import json
from pathlib import Path
from typing import Any

from testbed.kube import Admin, Object


def write_model(folder: Path, version: str, **chaos: float) -> str:
    """Write a model that adds up its features; its reference."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{version}.json"
    path.write_text(json.dumps({"name": "adder", "version": version, "weights": [1, 1], "chaos": chaos}))
    return f"file://{path}"


def deployment(namespace: str, name: str, container: Object, *, replicas: int = 1, **pod: Any) -> Object:
    """A Deployment of one container named ``main`` with the label ``app``."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", **container}], **pod},
            },
        },
    }


def pod(namespace: str, name: str, container: Object, **spec: Any) -> Object:
    """A Pod of one container named ``main`` that ends within two seconds when asked to."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "main", **container}], **spec},
    }


def model_server(model: str) -> Object:
    """The container of a model server with a readiness probe."""
    return {
        "image": "model-server:1.0",
        "args": ["--model", model],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
    }


def service(namespace: str, name: str, **spec: Any) -> Object:
    """A Service with port 80 in front of the Pods of the Deployment of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            **spec,
        },
    }


async def deploy_model(admin: Admin, namespace: str, name: str, model: str, replicas: int = 1) -> None:
    """Deploy a model server with its Service and wait until it is available."""
    await admin.create(deployment(namespace, name, model_server(model), replicas=replicas))
    await admin.create(service(namespace, name))
    await available(admin, namespace, name, replicas)


async def available(admin: Admin, namespace: str, name: str, replicas: int) -> None:
    """Wait until a Deployment has exactly this many replicas, all of them available."""

    def complete(found: Object | None) -> bool:
        status = (found or {}).get("status", {})
        return status.get("availableReplicas", 0) == replicas == status.get("replicas", 0)

    await admin.wait_for("apps/v1", "Deployment", namespace, name, complete)
