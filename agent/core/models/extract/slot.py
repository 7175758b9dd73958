"""What extractors give back, what they read from, and how they read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from agent.core.models.record import Action, Kind
from agent.core.models.ref import Ref
from agent.core.models.rendered import Object, RenderedSet
from agent.core.models.rules import NO_RULES, Rules

Trait = Literal[
    "pod-template",  # editing the text restarts pods
    "immutable",  # the API refuses the edit: a new object is needed
    "hot-reload",  # the server can take the change while it runs
    "output",  # a setting that changes answers with the same weights
    "api-name",  # clients address the model by this text
    "other-base",  # an adapter that is declared to be of another model than the one that is served
    "accelerator",  # another accelerator or another sharding of the model
    "declared-digest",  # a person vouched for the content in an annotation
    "rollout-owned",  # a canary sets this field
    "ignored",  # a person asked not to act on this slot
]


class Slot(NamedTuple):
    """One reference in its stable logical place. *path* is a JSONPath; *fingerprint* is compared, never shown.

    *asked* is the action that a person wants when the content is another one.
    """

    name: str
    kind: Kind
    ref: Ref
    path: str
    traits: frozenset[Trait] = frozenset()
    fingerprint: str = ""
    asked: Action | None = None


class MalformedError(ValueError):
    """A field does not have the type that its API gives it. *path* is its JSONPath."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path} {message}")
        self.path = path


class Context(NamedTuple):
    """What else an extractor may look at: the object's namespace, what was rendered with it, the user's rules."""

    namespace: str
    rendered: RenderedSet
    rules: Rules = NO_RULES

    def data(self, kind: Literal["ConfigMap"], name: str) -> Mapping[str, Any] | None:
        """The text entries of a ConfigMap of the namespace, or None when it was not rendered."""
        found = self.rendered.get("", kind, self.namespace, name)
        return mapping(found, "data", "$") if found is not None else None

    def base(self, kind: Literal["ConfigMap", "Secret"], name: str) -> str:
        """``namespace/name`` with kustomize's content hash taken off the name."""
        return f"{self.namespace}/{self.rendered.base_name(kind, self.namespace, name)}"


Extractor = Callable[[Object, Context], Iterable[Slot]]


def mapping(parent: Mapping[str, Any], field: str, path: str) -> Mapping[str, Any]:
    """The mapping in *field*, empty when absent. Raises MalformedError for another type."""
    value = parent.get(field)
    if value is None:
        return {}
    # Almost always a dict: the check against the abstract class costs ten times as much.
    if type(value) is not dict and not isinstance(value, Mapping):
        raise MalformedError(f"{path}.{field}", "is not a mapping")
    return value


def at(obj: Mapping[str, Any], *fields: str) -> tuple[Mapping[str, Any], str]:
    """The mapping reached through *fields* and its path; empty when something on the way is absent."""
    path = "$"
    for field in fields:
        obj, path = mapping(obj, field, path), f"{path}.{field}"
    return obj, path


def items(parent: Mapping[str, Any], field: str, path: str) -> Sequence[Any]:
    """The list in *field*, empty when absent. Raises MalformedError for another type."""
    value = parent.get(field)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise MalformedError(f"{path}.{field}", "is not a list")
    return value


def mappings(parent: Mapping[str, Any], field: str, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The mappings of the list in *field* with their paths."""
    for index, value in enumerate(items(parent, field, path)):
        here = f"{path}.{field}[{index}]"
        if not isinstance(value, Mapping):
            raise MalformedError(here, "is not a mapping")
        yield value, here


def text(parent: Mapping[str, Any], field: str, path: str) -> str:
    """The text in *field*, empty when absent; numbers are written out. Raises MalformedError for lists and mappings."""
    value = parent.get(field)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise MalformedError(f"{path}.{field}", "is not text")
    return str(value)


def texts(parent: Mapping[str, Any], field: str, path: str) -> list[str]:
    """The texts of the list in *field*. Raises MalformedError for other types."""
    found = []
    for index, value in enumerate(items(parent, field, path)):
        if not isinstance(value, str | int | float):
            raise MalformedError(f"{path}.{field}[{index}]", "is not text")
        found.append(str(value))
    return found
