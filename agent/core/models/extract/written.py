"""Where in a container the words of its command and the variables of its environment are written."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from agent.core.models.extract.argv import Environment, expand, flag_name
from agent.core.models.extract.slot import mapping, mappings, text, texts

_FLAG: Final = re.compile(r"(?<![^\s'\"])--?([\w.-]+)(?![^\s='\"])")


class _Word(NamedTuple):
    """One word with its JSONPath; *script* if a shell would take it apart."""

    path: str
    text: str

    @property
    def script(self) -> bool:
        return len(self.text.split(maxsplit=1)) > 1

    def flags(self) -> Iterable[str]:
        """The names of the flag that the word is, or of those that the script has."""
        if self.script:
            return _FLAG.findall(self.text.replace("_", "-"))
        return [flag_name(self.text)] if self.text.startswith("-") else []


class Written:
    """The places of a container's words; a value that is found nowhere has the container's own path.

    Every word is looked at once, however many are asked for.
    """

    def __init__(self, container: Mapping[str, Any], path: str, env: Environment) -> None:
        """Raises MalformedError where command, arguments, hook or environment do not have their types."""
        self._path = path
        self._words = list(_words(container, path, env))
        self._variables = dict(_variables(container, path))
        self._same: dict[str, list[int]] = {}
        self._flags: dict[str, list[int]] = {}
        self._joined: dict[tuple[str, str], int] = {}
        for index, word in enumerate(self._words):
            self._same.setdefault(word.text, []).append(index)
            if "=" in word.text and not word.script:
                self._joined[flag_name(word.text), word.text.partition("=")[2]] = index
            for name in dict.fromkeys(word.flags()):
                self._flags.setdefault(name, []).append(index)
        self._scripts = [word for word in self._words if word.script]

    def flag(self, names: Iterable[str], value: str = "") -> str:
        """Where one of the flags *names* got its *value*, else where it got its last one."""
        found: list[int] = []
        last = -1
        for name in names:
            given = self._flags.get(name)
            if given:
                last = max(last, given[-1])
                found += self._exact(name, given, value)
        if found:
            return self._words[max(found)].path
        return self._following(last).path if last >= 0 else self._path

    def word(self, value: str) -> str:
        """Where *value* stands as a word of its own, in a script, or where the script that says it begins."""
        same = [self._words[index] for index in self._same.get(value, ())[:1]]
        found = same or [word for word in self._scripts if value in word.text] or self._scripts
        return found[0].path if found else self._path

    def variable(self, *names: str) -> str:
        """Where the first of the variables *names* that is set gets its value."""
        return next((self._variables[name] for name in names if name in self._variables), self._path)

    def _exact(self, name: str, given: Sequence[int], value: str) -> Iterator[int]:
        """The word that is *value*, or has it after a "=", of the last flag of those at *given* that has such a one."""
        if (joined := self._joined.get((name, value))) is not None:
            yield joined
        same = self._same.get(value, ()) if value else ()
        before = bisect_left(given, same[-1]) if same else 0
        if before:
            yield same[bisect_right(same, given[before - 1])]

    def _following(self, index: int) -> _Word:
        """The word with the value of the flag at *index*: the flag itself, or the word that follows it."""
        word = self._words[index]
        following = [] if word.script or "=" in word.text else self._words[index + 1 : index + 2]
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
