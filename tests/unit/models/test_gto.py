"""Registries of models in Git tags: how tags are read, and what they say together.

The states were compared with those of gto 1.10.1 over repositories that it made.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.models.gto import KEPT, Artifact, Held, Tag, listed_tags, parse_tag, registry, undecided

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
A, B, C = (digit * 40 for digit in "abc")


def tag(name: str, commit: str, time: int | None = None) -> Tag:
    return Tag(name, f"id of {name}", commit, time)


def seen(tags: Iterable[Tag], artifact: str = "nn") -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Commits by version, and (version, commit) by stage."""
    found = registry(tags).get(artifact, Artifact())
    versions = {version: held.commit for version, held in found.versions.items()}
    return versions, {stage: (held.version, held.commit) for stage, held in found.stages.items()}


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("nn@v1.2.3", ("nn", "register", "v1.2.3", None)),
        ("nn@v1.2.3#4", ("nn", "register", "v1.2.3", 4)),
        ("nn@v1.2.3!", ("nn", "deregister", "v1.2.3", None)),
        ("nn@v1.2.3!#7", ("nn", "deregister", "v1.2.3", 7)),
        ("nn@v1.0.0-rc.1+build.5", ("nn", "register", "v1.0.0-rc.1+build.5", None)),
        ("nn#prod", ("nn", "assign", "prod", None)),
        ("nn#prod#12", ("nn", "assign", "prod", 12)),
        ("nn#prod!#13", ("nn", "unassign", "prod", 13)),
        ("nn#us/prod-1#2", ("nn", "assign", "us/prod-1", 2)),
        ("nn@deprecated", ("nn", "deprecate", "", None)),
        ("nn@deprecated#3", ("nn", "deprecate", "", 3)),
        ("team/churn_v2@v0.0.1", ("team/churn_v2", "register", "v0.0.1", None)),
        ("models/text=rf@v1.0.0", ("models/text:rf", "register", "v1.0.0", None)),
        ("../x.y=rf#dev#1", ("../x.y:rf", "assign", "dev", 1)),
        ("n@v1.0.0", ("n", "register", "v1.0.0", None)),
    ],
)
def test_what_a_tag_says(name: str, parsed: tuple[str, str, str, int | None]) -> None:
    assert parse_tag(name) == parsed


@pytest.mark.parametrize(
    "name",
    [
        "v1.2.3",
        "nn@1.2.3",
        "nn@v1.2",
        "nn@v01.2.3",
        "nn@v1.2.3-01",
        "nn@latest",
        "nn@created",
        "nn@deprecated!",
        "-nn@v1.2.3",
        "nn-@v1.2.3",
        "a=b=c@v1.2.3",
        "dir:nn@v1.2.3",
        "nn.x@v1.2.3",
        "nn#prod#",
        "nn#prod#1#2",
        "fix#123",
        "build#12#3",
        "nn#prod#x",
        "nn#prod!!#1",
        "nn#",
        "#prod#1",
        "@v1.2.3",
        "nn@v1.2.3\n",
        "nn#prod#" + "9" * 30,
        "n" * 600 + "@v1.2.3",
        "nn@v1.2.3-" + "a" * 300,
        "ñn@v1.2.3",
        "nn@v1.2.\u0663",
    ],
)
def test_other_tags_are_nobodys_business(name: str) -> None:
    assert parse_tag(name) is None


@pytest.mark.parametrize(
    ("tags", "versions", "stages"),
    [
        pytest.param([], {}, {}, id="nothing"),
        pytest.param(
            [tag("nn@v1.9.0", A), tag("nn@v1.10.0", B)], {"v1.10.0": B, "v1.9.0": A}, {}, id="versions, highest first"
        ),
        pytest.param([tag("nn#prod#1", A)], {}, {"prod": ("", A)}, id="a commit without a version"),
        pytest.param(
            [tag("nn@v1.0.0", A), tag("nn@v2.0.0", B), tag("nn#prod#9", A), tag("nn#prod#10", B)],
            {"v2.0.0": B, "v1.0.0": A},
            {"prod": ("v2.0.0", B)},
            id="counters are numbers",
        ),
        pytest.param(
            [tag("nn@v1.0.0", A), tag("nn@v2.0.0", B), tag("nn#prod#1", A), tag("nn#prod#2", B), tag("nn#prod#3", A)],
            {"v2.0.0": B, "v1.0.0": A},
            {"prod": ("v1.0.0", A)},
            id="an earlier version again",
        ),
        pytest.param(
            [tag("nn@v1.0.0", A), tag("nn@v2.0.0", B), tag("nn#prod#1", A), tag("nn#prod#2", B), tag("nn#prod!#3", B)],
            {"v2.0.0": B, "v1.0.0": A},
            {"prod": ("v1.0.0", A)},
            id="what is taken back leaves the one before",
        ),
        pytest.param(
            [tag("nn@v1.0.0", A), tag("nn#prod#1", A), tag("nn#prod!#2", A)], {"v1.0.0": A}, {}, id="taken back"
        ),
        pytest.param([tag("nn@v1.0.0", A, 1), tag("nn@v1.0.0!", A, 2), tag("nn#prod#1", A)], {}, {}, id="deregistered"),
        pytest.param(
            [tag("nn@v1.0.0", A, 1), tag("nn@v1.0.0!", A, 2), tag("nn@v1.0.0#1", A, 3)],
            {"v1.0.0": A},
            {},
            id="registered again",
        ),
        pytest.param(
            [tag("nn@v1.0.0", A, 1), tag("nn@v1.0.0!", A, 2), tag("nn@v1.0.0#1", B, 3), tag("nn#prod#2", A)],
            {"v1.0.0": B},
            {},
            id="registered again elsewhere: what has the stage is not registered any more",
        ),
        pytest.param(
            [tag("nn@v1.0.0#1", A), tag("nn@v1.0.0#2", B), tag("nn@v1.0.0#3", A), tag("nn#prod#4", B)],
            {"v1.0.0": A},
            {"prod": ("v1.0.0", B)},
            id="a version at two commits: the last counts",
        ),
        pytest.param(
            [tag("nn@v1.0.0", A, 2), tag("nn@v1.0.0!", A, 1)], {"v1.0.0": A}, {}, id="simple tags go by their time"
        ),
        pytest.param([tag("nn@v1.0.0", A), tag("nn@v1.0.0!", A)], {}, {}, id="of no known time: what is taken back"),
        pytest.param([tag("nn@v1.0.0", A, 1), tag("nn@deprecated", A, 2)], {}, {}, id="deprecated"),
        pytest.param(
            [tag("nn@v1.0.0", A, 1), tag("nn@deprecated", A, 2), tag("nn@v2.0.0", B, 3)],
            {"v2.0.0": B, "v1.0.0": A},
            {},
            id="back from that with the next tag",
        ),
        pytest.param([tag("xx@v1.0.0", A), tag("nightly", A)], {}, {}, id="others"),
    ],
)
def test_what_tags_say_together(tags: list[Tag], versions: dict[str, str], stages: dict[str, tuple[str, str]]) -> None:
    for ordered in (tags, tags[::-1]):
        assert seen(ordered) == (versions, stages)
    assert list(seen(tags)[0]) == list(versions)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["nn@v1.0.0", "nn@v2.0.0", "nn#prod#1", "nn#prod#2", "nn#dev", "x@v1.0.0"], set()),
        (["nn#prod", "nn#prod#2", "nn#dev#1"], {"nn#prod", "nn#prod#2"}),
        (["nn#prod#2", "nn#prod!#2"], {"nn#prod#2", "nn#prod!#2"}),
        (["nn@v1.0.0", "nn@v1.0.0!", "nn@v2.0.0"], {"nn@v1.0.0", "nn@v1.0.0!"}),
        (["nn@v1.0.0", "nn@deprecated", "x@v1.0.0"], {"nn@v1.0.0", "nn@deprecated"}),
    ],
)
def test_times_are_asked_for_where_counters_do_not_tell(names: list[str], wanted: set[str]) -> None:
    assert undecided([tag(name, A) for name in names]) == {f"id of {name}" for name in wanted}


def test_of_many_versions_the_highest_are_kept() -> None:
    found = registry(tag(f"nn@v1.{minor}.0", A) for minor in range(100))["nn"]
    assert list(found.versions) == [f"v1.{minor}.0" for minor in range(99, 99 - KEPT, -1)]
    assert found.latest == Held(A, "nn@v1.99.0", "v1.99.0")


def test_only_annotated_tags_are_read() -> None:
    refs = {
        "refs/heads/nn@v1.0.0": A,
        "refs/tags/nn@v1.0.0": "1" * 40,
        "refs/tags/nn@v1.0.0^{}": A,
        "refs/tags/nn@v2.0.0": B,
        "refs/tags/release": "2" * 40,
        "refs/tags/release^{}": B,
    }
    assert listed_tags(refs) == (Tag("nn@v1.0.0", "1" * 40, A),)


NAMES = st.text(max_size=40) | st.from_regex(
    r"(?:[a-z./]{0,4}=)?[a-z/_-]{1,4}[@#](?:v[0-9]{1,2}\.[0-9]\.[0-9](?:-[a-z0-9.]{0,4})?|prod|deprecated)!?(?:#[0-9]{0,3})?",
    fullmatch=True,
)
TAGS = st.lists(
    st.builds(Tag, NAMES, st.sampled_from("123456"), st.sampled_from([A, B, C]), st.none() | st.integers(0, 9)),
    max_size=20,
    unique_by=lambda one: one.name,
)


@QUICK
@given(TAGS)
def test_any_tags_make_a_state_whatever_their_order(tags: list[Tag]) -> None:
    found = registry(tags)
    assert registry(tags[::-1]) == found
    names = {one.name for one in tags}
    for artifact in found.values():
        for held in (*artifact.versions.values(), *artifact.stages.values()):
            assert held.tag in names
            assert any(one.name == held.tag and one.commit == held.commit for one in tags)
        assert artifact.latest is None or artifact.latest.version == next(iter(artifact.versions))
    assert undecided(tags) <= {one.oid for one in tags if parse_tag(one.name) is not None}


@QUICK
@given(NAMES)
def test_what_a_tag_says_is_written_as_it_is_read(name: str) -> None:
    parsed = parse_tag(name)
    if parsed is None:
        return
    artifact, action, subject, counter = parsed
    body = {
        "register": f"@{subject}",
        "deregister": f"@{subject}!",
        "assign": f"#{subject}",
        "unassign": f"#{subject}!",
        "deprecate": "@deprecated",
    }[action]
    written = artifact.replace(":", "=") + body
    assert name == written or name.rpartition("#") == (written, "#", name.rpartition("#")[2])
    assert (counter is None) == (name == written)
