"""Downward API: the fields and resources of a Pod that environment variables and volumes may show."""

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

from testbed.node.kubeapi import Obj

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(?P<key>[^']+)'\]")
_SUFFIXES = {
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(["", "k", "M", "G", "T", "P", "E"])},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], start=1)},
}
_QUANTITY = re.compile(r"(?P<number>[0-9.]+(?:[eE][0-9]+)?)(?P<suffix>[A-Za-z]*)")


class FieldError(Exception):
    """A fieldRef or resourceFieldRef that this node cannot answer."""


def field_value(pod: Obj, path: str) -> str:
    """The text of a fieldRef ``fieldPath`` (Kubernetes downward API); FieldError for an unknown one."""
    metadata: Obj = pod["metadata"]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        return str((metadata.get(subscript.group(1)) or {}).get(subscript["key"], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        entries: dict[str, str] = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in sorted(entries.items()))
    known: dict[str, Any] = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.hostIP": "127.0.0.1",
        "status.podIP": pod.get("status", {}).get("podIP", ""),
        "status.podIPs": pod.get("status", {}).get("podIP", ""),
    }
    if path not in known:
        raise FieldError(f"fieldPath {path!r} is not supported")
    return str(known[path])


def resource_value(container: Obj, selector: Obj, allocatable: dict[str, str]) -> str:
    """The text of a resourceFieldRef; a missing limit or request falls back to the node's allocatable."""
    section, _, resource = str(selector["resource"]).partition(".")
    resources = container.get("resources") or {}
    value = (resources.get(section) or {}).get(resource) or allocatable.get(resource)
    if value is None:
        raise FieldError(f"resource {selector['resource']!r} is neither set nor known to the node")
    divisor = parse_quantity(str(selector.get("divisor") or "0")) or Decimal(1)
    return str((parse_quantity(str(value)) / divisor).to_integral_value(ROUND_CEILING))


def parse_quantity(text: str) -> Decimal:
    """A Kubernetes quantity ("500m", "2Gi", "1e3") as a number; FieldError for anything else."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match["suffix"] not in _SUFFIXES:
        raise FieldError(f"{text!r} is not a quantity")
    return Decimal(match["number"]) * _SUFFIXES[match["suffix"]]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
