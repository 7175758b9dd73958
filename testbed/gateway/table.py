"""The routing table: what all attached HTTPRoutes say, in the order in which rules win."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from testbed.gateway.attachment import attach, backend_verdict, our_gateways
from testbed.gateway.filters import Filters, parse_filters
from testbed.gateway.matching import Facts, Match, host_rank, parse_match
from testbed.gateway.world import World
from testbed.node.kubeapi import Obj

_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")


@dataclass(frozen=True, slots=True)
class Backend:
    """A backendRef: the Service port, its weight, and whether it resolves."""

    namespace: str
    service: str
    port: int | None
    weight: int
    resolved: bool
    filters: Filters


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a route; ``timeout`` in seconds, None without one."""

    namespace: str
    route: str
    index: int
    matches: tuple[Match, ...]
    backends: tuple[Backend, ...]
    filters: Filters
    timeout: float | None


@dataclass(frozen=True, slots=True)
class _Entry:
    hostnames: tuple[str | None, ...]
    rule: Rule
    age: tuple[str, str, str]


class RoutingTable:
    """Finds the rule for a request; immutable once built."""

    def __init__(self, entries: Iterable[_Entry] = ()) -> None:
        self._entries = sorted(entries, key=lambda entry: (entry.age, entry.rule.index))

    def find(self, facts: Facts) -> tuple[Rule, Match] | None:
        """The rule and match with the highest precedence; among equals the oldest route, then the first rule."""
        best: tuple[Rule, Match] | None = None
        best_rank: tuple[int, ...] = ()
        for entry in self._entries:
            hosts = [found for name in entry.hostnames if (found := host_rank(name, facts.host)) is not None]
            if not hosts:
                continue
            for match in entry.rule.matches:
                rank = (*max(hosts), *match.rank())
                if (best is None or rank > best_rank) and match.holds(facts):
                    best, best_rank = (entry.rule, match), rank
        return best


def build_table(world: World, controller: str) -> RoutingTable:
    """Compile every attached route; rules that cannot be compiled are left out."""
    gateways = our_gateways(world, controller)
    entries = []
    for (namespace, name), route in world["httproutes"].items():
        attachments = [a for a in attach(route, gateways, world) if a.accepted.ok]
        hostnames = tuple(dict.fromkeys(host for a in attachments for host in a.hostnames))
        if not hostnames:
            continue
        age = (route["metadata"].get("creationTimestamp") or "", namespace, name)
        for index, rule in enumerate(route["spec"].get("rules") or [{}]):
            entries.append(_Entry(hostnames, _parse_rule(route, rule, index, world), age))
    return RoutingTable(entries)


def parse_duration(text: str | None) -> float | None:
    """A Gateway API duration (GEP-2257, such as "1m30s") in seconds; None for none, and for zero, which means none."""
    if not text:
        return None
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(text)) or None


def _parse_rule(route: Obj, rule: Obj, index: int, world: World) -> Rule:
    timeouts = rule.get("timeouts") or {}
    limits = [seconds for key in ("request", "backendRequest") if (seconds := parse_duration(timeouts.get(key)))]
    return Rule(
        namespace=route["metadata"]["namespace"],
        route=route["metadata"]["name"],
        index=index,
        matches=tuple(_parse_matches(rule.get("matches") or [{}])),
        backends=tuple(_parse_backend(route, reference, world) for reference in rule.get("backendRefs") or []),
        filters=parse_filters(rule.get("filters") or []),
        timeout=min(limits, default=None),
    )


def _parse_matches(matches: Iterable[Obj]) -> Iterable[Match]:
    for match in matches:
        try:
            yield parse_match(match)
        except re.error:  # a pattern that cannot match anything
            continue


def _parse_backend(route: Obj, reference: Obj, world: World) -> Backend:
    weight = reference.get("weight")
    return Backend(
        namespace=reference.get("namespace") or route["metadata"]["namespace"],
        service=reference["name"],
        port=reference.get("port"),
        weight=1 if weight is None else weight,
        resolved=backend_verdict(route, reference, world).ok,
        filters=parse_filters(reference.get("filters") or []),
    )
