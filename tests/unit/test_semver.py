"""Versions and constraints as the Masterminds semver library (v3) documents them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.semver import InvalidConstraintError, Version, parse_constraint, parse_version

numbers = st.integers(0, 12)
releases = st.builds(Version, numbers, numbers, numbers)
identifiers = st.sampled_from(["alpha", "beta", "rc", "0", "1", "11", "2", "x-1"])
prereleases = st.lists(identifiers, min_size=1, max_size=3).map(".".join)
versions = st.builds(Version, numbers, numbers, numbers, st.just("") | prereleases)


def text(version: Version) -> str:
    base = f"{version.major}.{version.minor}.{version.patch}"
    return f"{base}-{version.prerelease}" if version.prerelease else base


def accepts(constraint: str, version: str) -> bool:
    parsed = parse_version(version)
    assert parsed is not None
    return parse_constraint(constraint).matches(parsed)


@pytest.mark.parametrize(
    "tag",
    [
        *("0.9", "v1", "1.2.3.4", "1.2.3-", "1.2.3-01", "1.2.3+", "vv1.2.3", "V1.2.3"),
        *("", "v", "1.2.x", " 1.2.3", "1.2.3\n", "1.2.3-a..b", "release-1.2.3"),
        *("18446744073709551616.0.0", "1.2.3-" + "a" * 300),
    ],
)
def test_what_is_not_a_full_version_is_no_version(tag: str) -> None:
    assert parse_version(tag) is None


@pytest.mark.parametrize(
    "tag",
    ["1.2.3", "v1.2.3", "01.2.3", "v2026.01.02", "0.0.0", "1.2.3-rc.1", "v1.2.3-0+build.5", "1.2.3+20130313144700"],
)
def test_a_full_version_keeps_its_original_spelling(tag: str) -> None:
    version = parse_version(tag)
    assert version is not None
    assert version.original == tag


def test_the_specification_orders_its_own_example() -> None:
    order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
    order += ["1.0.0-rc.1", "1.0.0", "1.0.1-0", "1.0.1"]
    keys = [version.precedence for version in map(parse_version, order) if version is not None]
    assert len(keys) == len(order)
    assert all(lower < higher for lower, higher in itertools.pairwise(keys))


def test_build_metadata_takes_no_part_in_precedence() -> None:
    one, other = parse_version("1.0.0+a"), parse_version("1.0.0+b")
    assert one is not None
    assert other is not None
    assert one.precedence == other.precedence


@pytest.mark.parametrize(
    ("constraint", "inside", "outside"),
    [
        ("1.2.3", ["1.2.3", "1.2.3+meta"], ["1.2.4", "1.2.3-rc.1"]),
        ("=1.2", ["1.2.0", "1.2.9"], ["1.3.0", "1.1.9"]),
        ("*", ["0.0.0", "9.9.9"], ["1.0.0-rc.1"]),
        (">=1.0.0", ["1.0.0", "2.1.0"], ["0.9.9", "1.1.0-rc.1"]),
        ("=>1.0.0", ["1.0.0"], ["0.9.9"]),
        (">1", ["2.0.0"], ["1.0.0", "1.9.9"]),
        (">1.1", ["1.2.0"], ["1.1.9"]),
        (">1.1.1", ["1.1.2"], ["1.1.1"]),
        ("<2", ["1.9.9"], ["2.0.0"]),
        ("<=1", ["1.9.9"], ["2.0.0"]),
        ("<=1.1", ["1.1.9", "0.9.0"], ["1.2.0"]),
        ("=<1.1.0", ["1.1.0"], ["1.1.1"]),
        ("!=1.2.3", ["1.2.4"], ["1.2.3"]),
        ("!=1.2.x", ["1.3.0", "2.2.0"], ["1.2.7"]),
        ("!=1.x", ["2.0.0"], ["1.2.7"]),
        (">=1.0.0 <2.0.0", ["1.5.0"], ["2.0.0"]),
        (">=1.0.0, <2.0.0", ["1.5.0"], ["0.9.0"]),
        (">= 1.0.0 , < 2.0.0", ["1.5.0"], ["2.0.0"]),
        ("1.2 - 1.4.5", ["1.2.0", "1.4.5"], ["1.4.6", "1.1.9"]),
        ("1.0.0 - 2", ["2.9.9"], ["3.0.0"]),
        ("<1.0.0 || >=2.0.0", ["0.5.0", "2.0.0"], ["1.0.0"]),
        ("<1||>=2.0.0 <3", ["0.5.0", "2.4.0"], ["3.0.0"]),
        ("1.2.x", ["1.2.0", "1.2.5"], ["1.3.0"]),
        ("1.X", ["1.9.0"], ["2.0.0"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.3.0", "1.2.2"]),
        ("~1", ["1.0.0", "1.9.9"], ["2.0.0"]),
        ("~>2.3", ["2.3.0", "2.3.9"], ["2.4.0"]),
        ("~0.0.0", ["0.0.0", "5.0.0"], []),
        ("^1.2.3", ["1.2.3", "1.9.0"], ["2.0.0", "1.2.2"]),
        ("^1.2.x", ["1.2.0", "1.9.0"], ["2.0.0"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("^0.0", ["0.0.9"], ["0.1.0"]),
        ("^0", ["0.9.0"], ["1.0.0"]),
        (">=1.0.0-0", ["1.0.0-rc.1", "1.1.0-alpha", "1.0.0"], ["0.9.0"]),
        ("^1.2.0-beta.2", ["1.2.0-beta.4", "1.4.0-rc.1"], ["1.2.0-beta.1", "2.0.0"]),
        (">=1.0.0-0 <2.0.0", ["1.5.0-rc.1"], ["2.0.1-rc.1"]),
        (">=1.0.0-0 || <0.5.0", ["1.0.0-rc.1"], ["0.4.0-rc.1"]),
        ("v1.2.3", ["1.2.3"], ["1.2.4"]),
        (">=v1.2.3", ["1.2.4", "v2.0.0"], ["1.2.2"]),
    ],
)
def test_constraints(constraint: str, inside: list[str], outside: list[str]) -> None:
    assert [version for version in inside if not accepts(constraint, version)] == []
    assert [version for version in outside if accepts(constraint, version)] == []


@pytest.mark.parametrize(
    "constraint",
    [
        *("", "latest", ">=", "1.2.3.4", ">=1.0.0<2.0.0", "1.0.0,", "^^1.0", "1.0.0-", "1.0.0-01", "> > 1"),
        *("1 - 2x", "||", "1.0.0 ||", "1." * 300, "||".join(["1.0.0"] * 33)),
    ],
)
def test_what_is_not_a_constraint_is_refused(constraint: str) -> None:
    with pytest.raises(InvalidConstraintError):
        parse_constraint(constraint)


def test_the_refusal_names_the_group() -> None:
    with pytest.raises(InvalidConstraintError, match='improper constraint: "latest"'):
        parse_constraint("latest")


@given(versions, versions)
def test_comparators_agree_with_precedence(one: Version, other: Version) -> None:
    # An exact pre-release in the same group lets pre-releases take part.
    allow = f"!=99.0.0-0 {{}}{text(other)}"
    assert parse_constraint(allow.format("<")).matches(one) == (one.precedence < other.precedence)
    assert parse_constraint(allow.format(">=")).matches(one) == (one.precedence >= other.precedence)
    assert parse_constraint(allow.format("=")).matches(one) == (one.precedence == other.precedence)


@given(releases, releases)
def test_caret_and_tilde_are_short_for_ranges(base: Version, probe: Version) -> None:
    if base.major:
        above = f"{base.major + 1}.0.0"
    elif base.minor:
        above = f"0.{base.minor + 1}.0"
    else:
        above = f"0.0.{base.patch + 1}"
    written_out = parse_constraint(f">={text(base)} <{above}")
    assert parse_constraint(f"^{text(base)}").matches(probe) == written_out.matches(probe)
    if (base.major, base.minor, base.patch) != (0, 0, 0):
        written_out = parse_constraint(f">={text(base)} <{base.major}.{base.minor + 1}.0")
        assert parse_constraint(f"~{text(base)}").matches(probe) == written_out.matches(probe)


@given(st.text(alphabet="0123456789.-+vxX*<>=!~^|, ab", max_size=40), versions)
def test_any_text_is_read_or_refused(constraint: str, version: Version) -> None:
    try:
        parsed = parse_constraint(constraint)
    except InvalidConstraintError:
        return
    assert parsed.matches(version) in {True, False}
    if version.prerelease and "-" not in constraint:
        assert not parsed.matches(version)
