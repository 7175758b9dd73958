"""Is there room for a canary's devices that are claimed (dynamic resource allocation)? Beside `accelerators`.

A pod claims devices of a class; a class selects devices by CEL. Only the usual form is understood, one driver
(`device.driver == "gpu.example.com"`): what else a class or a request selects by may still leave no device that fits,
and a class of another form is not looked at. Requests for all devices of a node, and alternatives, are not counted.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from agent.core.objects import Manifest
from agent.core.quantity import whole

_DRIVER: Final = re.compile(r"""device\.driver\s*==\s*(["'])([^"']+)\1""")
_QUOTA: Final = ".deviceclass.resource.k8s.io/devices"


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """`drivers`: the driver of each class that names one. `free`: devices that no claim has, by driver, for each node;
    those that are no node's count as one place."""

    drivers: Mapping[str, str]
    free: Sequence[Mapping[str, int]]


def inventory_of(*, slices: Iterable[Manifest], classes: Iterable[Manifest], claims: Iterable[Manifest]) -> Inventory:
    """Of what the API says: ResourceSlices and DeviceClasses, and the ResourceClaims of all namespaces."""
    return Inventory(drivers=_drivers(classes), free=_free(slices, claims))


def templates_of(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the ResourceClaimTemplates that a pod has claims made from."""
    claims = pod.get("resourceClaims") or ()
    return tuple(claim["resourceClaimTemplateName"] for claim in claims if claim.get("resourceClaimTemplateName"))


def demand_of(templates: Iterable[Manifest]) -> Counter[str]:
    """Devices that one pod claims, by their class."""
    wanted: Counter[str] = Counter()
    for template in templates:
        devices = (template["spec"].get("spec") or {}).get("devices") or {}
        for request in devices.get("requests") or ():
            exactly = request.get("exactly") or {}
            if exactly.get("deviceClassName") and exactly.get("allocationMode", "ExactCount") == "ExactCount":
                wanted[exactly["deviceClassName"]] += int(exactly.get("count") or 1)
    return wanted


def shortage(demand: Mapping[str, int], pods_wanted: int, inventory: Inventory, quotas: Iterable[Manifest]) -> str:
    """What is missing for that many pods, in words; empty if there is room, or if that cannot be told."""
    for quota in quotas:
        status = quota.get("status") or {}
        for name, amount in demand.items():
            hard = (status.get("hard") or {}).get(name + _QUOTA)
            left = whole(hard) - whole((status.get("used") or {}).get(name + _QUOTA))
            if hard is not None and left < amount * pods_wanted:
                needed = f"{amount * pods_wanted} devices of class {name} needed"
                return f"{needed}, ResourceQuota {quota['metadata']['name']} leaves {max(left, 0)}"
    drivers = inventory.drivers
    needed_of: Counter[str] = Counter()
    for name, amount in demand.items():
        if name in drivers:
            needed_of[drivers[name]] += amount
    room = sum(
        min(place.get(driver, 0) // amount for driver, amount in needed_of.items())
        for place in inventory.free
        if needed_of
    )
    if room >= pods_wanted or not needed_of:
        return ""
    needed = ", ".join(f"{amount} devices of class {name}" for name, amount in sorted(demand.items()))
    return f"{pods_wanted} pods with {needed} each needed, there is room for {room}"


def _drivers(classes: Iterable[Manifest]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in classes:
        texts = ((item.get("cel") or {}).get("expression") or "" for item in each["spec"].get("selectors") or ())
        match = next((match for text in texts if (match := _DRIVER.search(text))), None)
        if match is not None:
            found[each["metadata"]["name"]] = match.group(2)
    return found


def _free(slices: Iterable[Manifest], claims: Iterable[Manifest]) -> list[Counter[str]]:
    taken = {
        (result["driver"], result["pool"], result["device"])
        for claim in claims
        for result in (((claim.get("status") or {}).get("allocation") or {}).get("devices") or {}).get("results") or ()
    }
    places: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in slices:
        spec = each["spec"]
        driver, pool = spec["driver"], spec["pool"]["name"]
        free = [device for device in spec.get("devices") or () if (driver, pool, device["name"]) not in taken]
        places[spec.get("nodeName") or ""][driver] += len(free)
    return list(places.values())
