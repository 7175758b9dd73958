"""Which rule of which HTTPRoute takes a request (Gateway API v1 matching and precedence), without any I/O."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testbed.node.kubeapi import Obj

_PATH_RANK = {"Exact": 2, "RegularExpression": 1, "PathPrefix": 0}


@dataclass(frozen=True, slots=True)
class Facts:
    """What matching looks at; header names in lower case, host without port in lower case, path decoded."""

    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or query parameter that must have a value, or match a pattern as a whole."""

    name: str
    value: str
    pattern: re.Pattern[str] | None

    def holds(self, values: Mapping[str, str]) -> bool:
        """Whether the values satisfy it."""
        found = values.get(self.name)
        if found is None:
            return False
        return bool(self.pattern.fullmatch(found)) if self.pattern else found == self.value


@dataclass(frozen=True, slots=True)
class Match:
    """One entry of ``rules[].matches``."""

    path_type: str
    path: str
    path_pattern: re.Pattern[str] | None
    method: str | None
    headers: tuple[ValueMatch, ...]
    query: tuple[ValueMatch, ...]

    def holds(self, facts: Facts) -> bool:
        """Whether a request satisfies all of it."""
        return (
            (self.method is None or self.method == facts.method)
            and self._path_holds(facts.path)
            and all(header.holds(facts.headers) for header in self.headers)
            and all(parameter.holds(facts.query) for parameter in self.query)
        )

    def rank(self) -> tuple[int, int, int, int, int]:
        """Larger wins: exact path, longer prefix, a method, more headers, more query parameters."""
        return (
            _PATH_RANK[self.path_type],
            len(self.path),
            self.method is not None,
            len(self.headers),
            len(self.query),
        )

    def _path_holds(self, path: str) -> bool:
        if self.path_pattern is not None:
            return bool(self.path_pattern.fullmatch(path))
        if self.path_type == "Exact":
            return path == self.path
        prefix = self.path.rstrip("/")
        return path == prefix or path.startswith(prefix + "/")


def parse_match(match: Obj) -> Match:
    """A match of the API with its defaults (PathPrefix /); re.error for a bad regular expression."""
    path = match.get("path") or {}
    kind, value = path.get("type") or "PathPrefix", path.get("value") or "/"
    return Match(
        path_type=kind,
        path=value,
        path_pattern=re.compile(value) if kind == "RegularExpression" else None,
        method=match.get("method"),
        headers=tuple(_value_match(header, lower=True) for header in match.get("headers") or []),
        query=tuple(_value_match(parameter, lower=False) for parameter in match.get("queryParams") or []),
    )


def intersect_hostnames(listener: str | None, route: Iterable[str]) -> list[str | None]:
    """The hostnames under which a route is reachable through a listener; None is any, an empty list nothing."""
    wanted: list[str | None] = [*route] or [None]
    found = (_intersection(listener, hostname) for hostname in wanted)
    return [hostname for matches, hostname in found if matches]


def host_rank(hostname: str | None, host: str) -> tuple[int, int] | None:
    """How specifically a hostname covers a request's host, larger is more; None when it does not."""
    if hostname is None:
        return (0, 0)
    hostname = hostname.lower()
    if hostname.startswith("*."):
        return (0, len(hostname)) if host.endswith(hostname[1:]) and len(host) > len(hostname) - 1 else None
    return (len(hostname), len(hostname)) if host == hostname else None


def _value_match(entry: Obj, *, lower: bool) -> ValueMatch:
    is_pattern = entry.get("type") == "RegularExpression"
    name = entry["name"].lower() if lower else entry["name"]
    return ValueMatch(name, entry["value"], re.compile(entry["value"]) if is_pattern else None)


def _intersection(listener: str | None, route: str | None) -> tuple[bool, str | None]:
    if listener is None or route is None:
        return True, listener or route
    for wide, narrow in ((listener, route), (route, listener)):
        probe = narrow.removeprefix("*.").lower()
        if wide.lower() == narrow.lower() or (wide.startswith("*.") and probe.endswith(wide[1:].lower())):
            return True, narrow
    return False, None
