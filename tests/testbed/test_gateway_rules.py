"""The rules of the process gateway that need no cluster: matching, precedence, hostnames, weights, filters."""

from collections import Counter

import pytest
from multidict import CIMultiDict

from testbed.gateway.balance import Rotation, SmoothChoice
from testbed.gateway.filters import modify_headers, parse_filters, rewrite_path
from testbed.gateway.matching import Facts, host_rank, intersect_hostnames, parse_match
from testbed.gateway.mirror import mirror_share
from testbed.gateway.proxy import end_to_end
from testbed.gateway.table import parse_duration
from testbed.node.kubeapi import Obj


def facts(path: str = "/", *, method: str = "GET", **headers: str) -> Facts:
    return Facts(method=method, host="a.example.com", path=path, headers=headers, query={"q": "1"})


@pytest.mark.parametrize(
    ("kind", "value", "path", "holds"),
    [
        ("PathPrefix", "/", "/any", True),
        ("PathPrefix", "/v1", "/v1", True),
        ("PathPrefix", "/v1/", "/v1", True),
        ("PathPrefix", "/v1", "/v1/x", True),
        ("PathPrefix", "/v1", "/v12", False),
        ("Exact", "/v1", "/v1", True),
        ("Exact", "/v1", "/v1/", False),
        ("RegularExpression", "/v[12]/.*", "/v2/x", True),
        ("RegularExpression", "/v[12]", "/v2/x", False),
    ],
)
def test_paths(kind: str, value: str, path: str, holds: bool) -> None:
    assert parse_match({"path": {"type": kind, "value": value}}).holds(facts(path)) is holds


def test_all_parts_of_a_match_must_hold() -> None:
    match = parse_match(
        {
            "method": "POST",
            "headers": [{"name": "X-A", "value": "1"}, {"name": "X-B", "type": "RegularExpression", "value": "b+"}],
            "queryParams": [{"name": "q", "value": "1"}],
        }
    )
    assert match.holds(facts(method="POST", **{"x-a": "1", "x-b": "bb"}))
    assert not match.holds(facts(method="GET", **{"x-a": "1", "x-b": "bb"}))
    assert not match.holds(facts(method="POST", **{"x-a": "1", "x-b": "bbc"}))
    assert not match.holds(facts(method="POST", **{"x-b": "bb"}))


def test_precedence_of_matches() -> None:
    header = {"name": "a", "value": "b"}
    matches: list[Obj] = [
        {"path": {"type": "Exact", "value": "/v"}},
        {"path": {"type": "PathPrefix", "value": "/v1/long"}},
        {"path": {"type": "PathPrefix", "value": "/v1"}, "method": "GET"},
        {"path": {"type": "PathPrefix", "value": "/v1"}, "headers": [header, header]},
        {"path": {"type": "PathPrefix", "value": "/v1"}, "headers": [header], "queryParams": [header]},
        {"path": {"type": "PathPrefix", "value": "/v1"}, "headers": [header]},
        {"path": {"type": "PathPrefix", "value": "/v1"}},
        {},
    ]
    ranks = [parse_match(match).rank() for match in matches]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize(
    ("listener", "route", "hosts"),
    [
        (None, [], [None]),
        (None, ["a.example.com"], ["a.example.com"]),
        ("a.example.com", [], ["a.example.com"]),
        ("*.example.com", ["a.example.com", "b.org"], ["a.example.com"]),
        ("a.example.com", ["*.example.com"], ["a.example.com"]),
        ("*.example.com", ["*.a.example.com"], ["*.a.example.com"]),
        ("*.example.com", ["example.com"], []),
        ("*.example.com", ["*.example.com"], ["*.example.com"]),
    ],
)
def test_hostnames_intersect(listener: str | None, route: list[str], hosts: list[str | None]) -> None:
    assert intersect_hostnames(listener, route) == hosts


def test_more_specific_hostnames_rank_higher() -> None:
    names = ["a.b.example.com", "*.b.example.com", "*.example.com", None]
    ranks = [host_rank(name, "a.b.example.com") for name in names]
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda rank: rank or (), reverse=True)
    assert host_rank("*.example.com", "example.com") is None
    assert host_rank("a.example.com", "b.example.com") is None


@pytest.mark.parametrize("weights", [[70, 30], [1, 1, 1], [0, 5], [95, 5], [3, 0, 4]])
def test_a_cycle_of_choices_has_exactly_the_weights(weights: list[int]) -> None:
    choice = SmoothChoice(weights)
    for _ in range(2):
        chosen = Counter(choice.next() for _ in range(sum(weights)))
        assert [chosen[index] for index in range(len(weights))] == weights


def test_few_choices_are_close_to_the_weights() -> None:
    choice = SmoothChoice([90, 10])
    assert Counter(choice.next() for _ in range(10)) == {0: 9, 1: 1}


def test_without_weight_there_is_no_choice() -> None:
    assert SmoothChoice([0, 0]).next() is None
    assert SmoothChoice([]).next() is None


def test_rotation_starts_with_each_in_turn() -> None:
    rotation = Rotation()
    assert [rotation.order("ab")[0] for _ in range(4)] == ["a", "b", "a", "b"]
    assert rotation.order([]) == []


@pytest.mark.parametrize(
    ("match", "rewrite", "path", "expected"),
    [
        ("/api", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}, "/api/x%2Fy", "/v2/x%2Fy"),
        ("/api", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}, "/api", "/v2"),
        ("/api", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}, "/api/x", "/x"),
        ("/api", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}, "/api", "/"),
        ("/", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2/"}, "/x", "/v2/x"),
        ("/", {"type": "ReplaceFullPath", "replaceFullPath": "/all"}, "/x/y", "/all"),
    ],
)
def test_paths_are_rewritten(match: str, rewrite: Obj, path: str, expected: str) -> None:
    parsed = parse_match({"path": {"type": "PathPrefix", "value": match}})
    assert rewrite_path(path, parsed, {"path": rewrite}) == expected
    assert rewrite_path(path, parsed, None) == path


def test_headers_are_modified_without_regard_to_case() -> None:
    headers = CIMultiDict({"X-Old": "1", "X-Both": "1"})
    modify_headers(
        headers,
        [
            {
                "set": [{"name": "x-old", "value": "2"}],
                "add": [{"name": "X-Both", "value": "2"}],
                "remove": ["x-gone"],
            }
        ],
    )
    assert headers.getall("X-Old") == ["2"]
    assert headers.getall("x-both") == ["1", "2"]


def test_unknown_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="ExtensionRef"):
        parse_filters([{"type": "ExtensionRef"}])


def test_hop_by_hop_headers_end_here() -> None:
    kept = end_to_end({"Connection": "close, X-Mine", "X-Mine": "1", "Transfer-Encoding": "chunked", "X-Other": "1"})
    assert dict(kept) == {"X-Other": "1"}


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("0s", None), ("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600)]
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


def test_shares_of_mirrors() -> None:
    shares = [{}, {"percent": 25}, {"fraction": {"numerator": 1, "denominator": 8}}, {"fraction": {"numerator": 5}}]
    assert [mirror_share(share) for share in shares] == [1, 0.25, 0.125, 0.05]
