"""Which objects a Flux selector means: anchored regular expressions for names, label selectors for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.api.kustomization import IgnoreRule, Selector
from agent.core.objects import Manifest, annotations_of, labels_of, split_api_version
from agent.core.patterns import matches

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*)?(?P<key>[A-Za-z0-9_./-]+)\s*+"  # not to be shared with the next: that would take long
    r"(?:(?P<op>==|=|!=|>|<)\s*(?P<value>[A-Za-z0-9_.-]*)|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)


def selects(selector: Selector | None, manifest: Manifest) -> bool:
    """True if every part of the selector that is given matches. Raises ValueError for one that cannot be read."""
    if selector is None:
        return True
    group, version = split_api_version(manifest["apiVersion"])
    metadata = manifest["metadata"]
    named = (
        (selector.group, group),
        (selector.version, version),
        (selector.kind, manifest["kind"]),
        (selector.name, metadata["name"]),
        (selector.namespace, metadata.get("namespace", "")),
    )
    for pattern, value in named:
        if pattern and not _fullmatch(pattern, value):
            return False
    marks = ((selector.label_selector, labels_of(manifest)), (selector.annotation_selector, annotations_of(manifest)))
    return all(not text or labels_match(text, values) for text, values in marks)


def _fullmatch(pattern: str, value: str) -> bool:
    try:
        return matches(pattern, value)
    except ValueError as error:
        raise ValueError(f"selector pattern {error}") from None


def labels_match(selector: str, labels: Mapping[str, str]) -> bool:
    """Kubernetes' label selector syntax: `a=b,c!=d,e in (f,g),h,!i,j>1`. Raises ValueError for anything else."""
    return all(_holds(requirement, labels) for requirement in _requirements(selector))


def _requirements(selector: str) -> tuple[re.Match[str], ...]:
    found: list[re.Match[str]] = []
    at = 0
    while at < len(selector):
        one = _REQUIREMENT.match(selector, at)
        if one is None or one.end() == at or (one["absent"] and (one["op"] or one["set"])):
            msg = f"label selector {selector!r} cannot be read from position {at}"
            raise ValueError(msg)
        found.append(one)
        at = one.end()
    return tuple(found)


def _holds(requirement: re.Match[str], labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    if requirement["absent"]:
        return value is None
    if requirement["op"] in {">", "<"}:
        return _compares(value, requirement["op"], requirement["value"])
    if requirement["op"]:
        return (value == requirement["value"]) is (requirement["op"] != "!=")
    if requirement["set"]:
        member = value in {part.strip() for part in requirement["values"].split(",")}
        return member is (requirement["set"] == "in")
    return value is not None


def _compares(value: str | None, operator: str, bound: str) -> bool:
    """Whole numbers compare as such; a label that is none does not match."""
    try:
        have, wanted = int(value or ""), int(bound)
    except ValueError:
        return False
    return have > wanted if operator == ">" else have < wanted


def ignored_fields(rules: tuple[IgnoreRule, ...], desired: Manifest, live: Manifest) -> tuple[str, ...]:
    """The JSON pointers that drift-ignore rules name for an object.

    Its labels and annotations are those that it has once `desired` is applied over `live`. Raises ValueError for an
    unreadable selector.
    """
    if not rules:
        return ()
    marks = {
        "labels": {**labels_of(live), **labels_of(desired)},
        "annotations": {**annotations_of(live), **annotations_of(desired)},
    }
    merged = {**desired, "metadata": {**desired["metadata"], **marks}}
    return tuple(path for rule in rules if selects(rule.target, merged) for path in rule.paths)


def check_rules(rules: tuple[IgnoreRule, ...]) -> None:
    """Raises ValueError if a rule has a pattern or a selector that cannot be read, whatever objects there are."""
    for selector in (rule.target for rule in rules if rule.target):
        for pattern in (selector.group, selector.version, selector.kind, selector.name, selector.namespace):
            _fullmatch(pattern or "", "")
        for text in (selector.label_selector, selector.annotation_selector):
            _requirements(text or "")
