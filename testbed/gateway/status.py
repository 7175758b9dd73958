"""The status a Gateway controller writes: GatewayClass, Gateway and HTTPRoute conditions (Gateway API v1).

The functions return the wanted status of an object, equal to the present one when there is nothing to write.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from testbed.gateway.attachment import Attachment, Verdict, attach, backends_resolve, our_gateways
from testbed.gateway.world import World
from testbed.node.kubeapi import Obj

Conditions = Mapping[str, Verdict]


def class_status(item: Obj) -> Obj:
    """GatewayClass: Accepted."""
    status = item.get("status") or {}
    wanted = {"Accepted": Verdict(True, "Accepted")}
    return {**status, "conditions": _fold(status.get("conditions"), wanted, item["metadata"]["generation"])}


def gateway_status(item: Obj, attached: Mapping[str, int], address: str) -> Obj:
    """Gateway: Accepted, Programmed, its address, and every listener with its number of attached routes."""
    status, generation = item.get("status") or {}, item["metadata"]["generation"]
    before = {entry["name"]: entry for entry in status.get("listeners") or []}
    wanted = {"Accepted": Verdict(True, "Accepted"), "Programmed": Verdict(True, "Programmed")}
    return {
        **status,
        "addresses": [{"type": "IPAddress", "value": address}],
        "conditions": _fold(status.get("conditions"), wanted, generation),
        "listeners": [
            _listener(entry, before.get(entry["name"]) or {}, attached.get(entry["name"], 0), generation)
            for entry in item["spec"]["listeners"]
        ],
    }


def route_status(item: Obj, attachments: Sequence[Attachment], resolved: Verdict, controller: str) -> Obj:
    """HTTPRoute: one entry per parent of ours with Accepted and ResolvedRefs; entries of others stay."""
    parents: list[Obj] = (item.get("status") or {}).get("parents") or []
    ours = [entry for entry in parents if entry["controllerName"] == controller]
    others = [entry for entry in parents if entry["controllerName"] != controller]
    for attachment in attachments:
        before: Obj = next((entry for entry in ours if entry["parentRef"] == attachment.parent), {})
        wanted = {"Accepted": attachment.accepted, "ResolvedRefs": resolved}
        conditions = _fold(before.get("conditions"), wanted, item["metadata"]["generation"])
        others.append({"parentRef": attachment.parent, "controllerName": controller, "conditions": conditions})
    return {"parents": others}


def wanted_statuses(world: World, controller: str, address: str) -> list[tuple[str, Obj, Obj]]:
    """(plural, object, status) of everything whose status has to be written."""
    gateways = our_gateways(world, controller)
    changes: list[tuple[str, Obj, Obj]] = []
    attached: dict[tuple[str, str], dict[str, int]] = {key: {} for key in gateways}
    for route in world["httproutes"].values():
        attachments = attach(route, gateways, world)
        for attachment in attachments:
            for listener in attachment.listeners:
                counts = attached[attachment.gateway]
                counts[listener] = counts.get(listener, 0) + 1
        changes.append(
            ("httproutes", route, route_status(route, attachments, backends_resolve(route, world), controller))
        )
    changes += [("gateways", item, gateway_status(item, attached[key], address)) for key, item in gateways.items()]
    changes += [
        ("gatewayclasses", item, class_status(item))
        for item in world["gatewayclasses"].values()
        if item["spec"]["controllerName"] == controller
    ]
    return [(plural, item, status) for plural, item, status in changes if not _same(item, status)]


def _same(item: Obj, status: Obj) -> bool:
    present = item.get("status") or {}
    return all(present.get(key, []) == value for key, value in status.items())


def _listener(listener: Obj, before: Obj, attached: int, generation: int) -> Obj:
    known = listener["protocol"] == "HTTP"
    accepted = (
        Verdict(True, "Accepted")
        if known
        else Verdict(False, "UnsupportedProtocol", f"{listener['protocol']} is not supported")
    )
    wanted = {
        "Accepted": accepted,
        "Programmed": Verdict(True, "Programmed") if known else Verdict(False, "Invalid", accepted.message),
        "ResolvedRefs": Verdict(True, "ResolvedRefs"),
        "Conflicted": Verdict(False, "NoConflicts"),
    }
    return {
        "name": listener["name"],
        "supportedKinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}] if known else [],
        "attachedRoutes": attached,
        "conditions": _fold(before.get("conditions"), wanted, generation),
    }


def _fold(present: Sequence[Obj] | None, wanted: Conditions, generation: int) -> list[Obj]:
    """The wanted conditions in place of the present ones of the same type; unchanged ones keep their time."""
    before = {condition["type"]: condition for condition in present or []}
    for kind, verdict in wanted.items():
        status = "True" if verdict.ok else "False"
        old = before.get(kind) or {}
        since = old["lastTransitionTime"] if old.get("status") == status else _now()
        before[kind] = {
            "type": kind,
            "status": status,
            "reason": verdict.reason,
            "message": verdict.message,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        }
    return list(before.values())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
