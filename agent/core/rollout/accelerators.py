"""Is there room for a canary's accelerators? Asked before a run, so that none begins that can only wait.

Accelerators are extended resources (`nvidia.com/gpu`): whole numbers, never overcommitted. A node has what it offers to
pods less what the pods on it ask for; a namespace has what its ResourceQuotas leave. Taints, selectors and preemption
are the scheduler's business: what fits here may still not be placed, what does not fit here cannot be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from agent.core.objects import Manifest
from agent.core.quantity import whole

_OVER = frozenset({"Succeeded", "Failed"})
_SERVER: Final = "kserve-container"
"""KServe's name for the container of the model server, where a runtime's container meets the fields of the model."""


def demand_of(content: Mapping[str, Any], runtime: Sequence[Manifest] = ()) -> Counter[str]:
    """Accelerators of one pod of an InferenceService's or LLMInferenceService's revision; no workers on other nodes.

    `runtime` are the containers that its ServingRuntime has. As KServe lays the object over them, each amount of a
    container that both have is the object's where it names one.
    """
    model, template = content.get("model") or {}, content.get("template") or {}
    containers = (*(content.get("containers") or ()), *(template.get("containers") or ()))
    below = {str(container.get("name")): _amounts(container) for container in runtime}
    asked = [
        {**below.pop(str(container.get("name")), {}), **_amounts(container)}
        for container in ({"name": _SERVER, **model}, *containers)
    ]
    return _sum(_extended(amounts) for amounts in (*asked, *below.values()))


def shortage(
    demand: Mapping[str, int], pods_wanted: int, *, free: Sequence[Mapping[str, int]], quotas: Iterable[Manifest]
) -> str:
    """What is missing for that many pods, in words; empty if there is room. `free`: see `free_of`."""
    for quota in quotas:
        status = quota.get("status") or {}
        for name, amount in demand.items():
            key = f"requests.{name}"
            left = whole((status.get("hard") or {}).get(key)) - whole((status.get("used") or {}).get(key))
            if key in (status.get("hard") or {}) and left < amount * pods_wanted:
                needed = f"{amount * pods_wanted} {name} needed"
                return f"{needed}, ResourceQuota {quota['metadata']['name']} leaves {max(left, 0)}"
    room = sum(min(node.get(name, 0) // amount for name, amount in demand.items()) for node in free if demand)
    if room >= pods_wanted:
        return ""
    needed = ", ".join(f"{amount} {name}" for name, amount in sorted(demand.items()))
    return f"{pods_wanted} pods with {needed} each needed, there is room for {room} on {len(free)} nodes"


def free_of(nodes: Iterable[Manifest], pods: Iterable[Manifest]) -> list[Counter[str]]:
    """Accelerators that no pod asks for, for each node that takes pods."""
    free = {
        node["metadata"]["name"]: _extended((node.get("status") or {}).get("allocatable") or {})
        for node in nodes
        if not (node.get("spec") or {}).get("unschedulable")
    }
    for pod in pods:
        node = free.get((pod.get("spec") or {}).get("nodeName", ""))
        if node is not None and (pod.get("status") or {}).get("phase") not in _OVER:
            node.subtract(_sum(_asked(container) for container in pod["spec"].get("containers") or ()))
    return list(free.values())


def _asked(container: Mapping[str, Any]) -> Counter[str]:
    return _extended(_amounts(container))


def _amounts(container: Mapping[str, Any]) -> dict[str, Any]:
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def _extended(amounts: Mapping[str, Any]) -> Counter[str]:
    """Resources with a domain, but for those of Kubernetes itself."""
    return Counter(
        {
            name: whole(amount)
            for name, amount in amounts.items()
            if "/" in name and not name.partition("/")[0].endswith("kubernetes.io") and whole(amount)
        }
    )


def _sum(amounts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for amount in amounts:
        total.update(amount)
    return total
