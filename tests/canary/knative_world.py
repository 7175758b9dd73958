"""A Knative Service with its Canary. Knative is not here: a few lines make revisions as its controller does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from canary_cluster import NAME, Rollouts
from foreign_crds import KNATIVE_API

from testbed.kube import Object


def service(rollouts: Rollouts, version: str, *args: str) -> Object:
    image = f"vllm/vllm-openai:{version}"
    template = {"spec": {"containers": [{"name": "server", "image": image, "args": list(args)}]}}
    metadata = {"name": NAME, "namespace": rollouts.namespace}
    return {"apiVersion": KNATIVE_API, "kind": "Service", "metadata": metadata, "spec": {"template": template}}


def canary(rollouts: Rollouts, **analysis: Any) -> Object:
    made = rollouts.canary(analysis=analysis)
    made["spec"]["provider"] = "knative"
    made["spec"]["targetRef"] = {"apiVersion": KNATIVE_API, "kind": "Service", "name": NAME}
    del made["spec"]["service"]
    return made


@asynccontextmanager
async def controller(rollouts: Rollouts) -> AsyncIterator[None]:
    """A revision for each template, ready at once."""
    admin, namespace, known = rollouts.admin, rollouts.namespace, []

    async def follow() -> None:
        while True:
            found = await rollouts.get("Service", NAME, KNATIVE_API)
            template = found["spec"]["template"] if found else None
            if template is not None and (not known or known[-1] != template):
                known.append(template)
                name = f"{NAME}-{len(known):05d}"
                metadata = {"name": name, "namespace": namespace}
                await admin.create(
                    {"apiVersion": KNATIVE_API, "kind": "Revision", "metadata": metadata, "spec": template["spec"]}
                )
                ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
                await admin.patch(KNATIVE_API, "Revision", namespace, name, ready, subresource="status")
                latest = {"status": {"latestCreatedRevisionName": name}}
                await admin.patch(KNATIVE_API, "Service", namespace, NAME, latest, subresource="status")
            await asyncio.sleep(0.1)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
