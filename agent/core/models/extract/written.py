"""Where in a container the words of its command and the variables of its environment are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agent.core.models.extract.argv import Environment, expand, flag_name
from agent.core.models.extract.slot import mapping, mappings, text, texts


class _Word(NamedTuple):
    """One word with its JSONPath; *script* if a shell would take it apart."""

    path: str
    text: str

    @property
    def script(self) -> bool:
        return any(map(str.isspace, self.text.strip()))

    def names(self, flags: Iterable[str]) -> bool:
        """Whether the word is one of *flags*, with or without a value, or a script that has one."""
        if not self.script:
            return self.text.startswith("-") and flag_name(self.text) in flags
        given = self.text.replace("_", "-")
        return any(re.search(rf"(?<![^\s'\"])--?{re.escape(flag)}(?![^\s='\"])", given) for flag in flags)


class Written:
    """The places of a container's words; a value that is found nowhere has the container's own path."""

    def __init__(self, container: Mapping[str, Any], path: str, env: Environment) -> None:
        """Raises MalformedError where command, arguments, hook or environment do not have their types."""
        self._path = path
        self._words = list(_words(container, path, env))
        self._variables = dict(_variables(container, path))

    def flag(self, names: Iterable[str], value: str = "") -> str:
        """Where one of the flags *names* got its *value*, else where it got its last one."""
        names = frozenset(names)
        given = [self._value(index, value) for index, word in enumerate(self._words) if word.names(names)]
        best = [place for place in given if value and value in place.text] or given
        return best[-1].path if best else self._path

    def word(self, value: str) -> str:
        """Where *value* stands as a word of its own, in a script, or where the script that says it begins."""
        same = [word for word in self._words if word.text == value]
        scripts = [word for word in self._words if word.script]
        found = same or [word for word in scripts if value in word.text] or scripts
        return found[0].path if found else self._path

    def variable(self, *names: str) -> str:
        """Where the first of the variables *names* that is set gets its value."""
        return next((self._variables[name] for name in names if name in self._variables), self._path)

    def _value(self, index: int, value: str) -> _Word:
        """The word with the value of the flag at *index*: the flag itself, or one of the words that follow it."""
        word = self._words[index]
        following = [] if word.script or "=" in word.text else self._words[index + 1 :]
        for later in following:
            if later.text.startswith("-") and later.text != value:
                break
            if not value or later.text == value:
                return later
        return following[0] if following and not following[0].text.startswith("-") else word


def _words(container: Mapping[str, Any], path: str, env: Environment) -> Iterator[_Word]:
    hooks = mapping(mapping(container, "lifecycle", path), "postStart", f"{path}.lifecycle")
    hook = f"{path}.lifecycle.postStart.exec"
    started = mapping(hooks, "exec", f"{path}.lifecycle.postStart")
    for parent, here, field in ((container, path, "command"), (container, path, "args"), (started, hook, "command")):
        for index, word in enumerate(texts(parent, field, here)):
            yield _Word(f"{here}.{field}[{index}]", expand(word, env))


def _variables(container: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for entry, here in mappings(container, "env", path):
        yield text(entry, "name", here), f"{here}.{'valueFrom' if entry.get('valueFrom') else 'value'}"


def keyed(path: str, start: str, keys: Sequence[str]) -> str:
    """*path*, into a list at *start* that was made of a mapping with *keys*, as a path into the mapping."""
    number = path.removeprefix(f"{start}[").partition("]")[0]
    return f"{start}.{keys[int(number)]}" if path.startswith(f"{start}[") else path
