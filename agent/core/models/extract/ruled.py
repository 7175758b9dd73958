"""References that a user's rules point at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.core.models.extract.slot import Context, MalformedError, Slot, text
from agent.core.models.grammar import parse
from agent.core.models.rendered import Object
from agent.core.models.rules import ObjectRule, steps
from agent.core.objects import split_api_version

Found = tuple[Mapping[str, Any], str, tuple[str, ...]]


def ruled(obj: Object, context: Context) -> Iterator[Slot]:
    """The slots of every rule for the group and kind of *obj*."""
    group, _ = split_api_version(obj["apiVersion"])
    for rule in context.rules.objects:
        if (rule.group, rule.kind) == (group, obj["kind"]):
            yield from _slots(obj, rule)


def _slots(obj: Object, rule: ObjectRule) -> Iterator[Slot]:
    *way, field = steps(rule.path)
    for parent, path, names in _reach(obj, tuple(way), "$", ()):
        value = text(parent, field, path)
        if value:
            name = f"{rule.slot}[{'/'.join(names)}]" if names else rule.slot
            revision = text(parent, rule.revision, path) if rule.revision else ""
            yield Slot(name, rule.role, parse(value, rule.grammar, revision=revision), f"{path}.{field}")


def _reach(value: Any, way: tuple[str, ...], path: str, names: tuple[str, ...]) -> Iterator[Found]:
    if value is None:
        return
    if not way:
        if not isinstance(value, Mapping):
            raise MalformedError(path, "is not a mapping")
        yield value, path, names
        return
    step, rest = way[0], way[1:]
    if step != "*":
        if not isinstance(value, Mapping):
            raise MalformedError(path, "is not a mapping")
        yield from _reach(value.get(step), rest, f"{path}.{step}", names)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _reach(value[key], rest, f"{path}.{key}", (*names, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            label = item.get("name") if isinstance(item, Mapping) else None
            named = (*names, label) if isinstance(label, str) and label else names
            yield from _reach(item, rest, f"{path}[{index}]", named)
    else:
        raise MalformedError(path, "is neither a list nor a mapping")
