"""The command line and environment of a container, as the kubelet and a shell would make them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from agent.core.models.extract.heredocs import unfolded
from agent.core.models.extract.slot import Context, mapping, mappings, text, texts
from agent.core.models.ref import NOT_RENDERED, Ref, opaque, unresolved

MAX_EXPANSION: Final = 32 * 1024
"""Longest text that expansion may produce, in characters: variables that double each other stay as written."""

_KUBE_VARIABLE: Final = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_WHOLE_VARIABLE: Final = re.compile(r"^\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)$")
_SHELL_VARIABLE: Final = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?-([^}$]*))?\})")
_ASSIGNMENT: Final = re.compile(r"^([A-Za-z_]\w*)=(.*)$", re.DOTALL)
_OF_A_SHELL: Final = re.compile(r"#!\S*[/ ](?:env +)?(?:ba|da|a|z|k)?sh\b")
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh", "busybox"})
_PREFIXES: Final = frozenset({"exec", "command", "nohup", "time", "sudo", "then", "do", "else", "if", "!", "{", "eval"})
_SEPARATORS: Final = frozenset(";&|\n()")
_DUPLICATED_HANDLE: Final = re.compile(r"\d?>&\d")
_PARAMETERS: Final = re.compile(r"\"\$[@*]\"|\$[@*]|\$\{[@*]\}")
_SUBSTITUTION: Final = re.compile(r"\$\(\([^()]*\)\)|\$\([^()]*\)|`[^`]*`")
_PROCESS: Final = re.compile(r"(?:>\s*)?[<>]\([^()]*\)")
# Stand-ins from the private use area: what a shell would run inside $( ) is one word for us.
_PROTECT: Final = str.maketrans("() \t\n;|&", "\ue000\ue001\ue002\ue003\ue004\ue005\ue006\ue007")
_RESTORE: Final = str.maketrans("\ue000\ue001\ue002\ue003\ue004\ue005\ue006\ue007", "() \t\n;|&")
_NEGATIVE: Final = re.compile(r"^-\d")


class Hidden(NamedTuple):
    """A value that is not in the rendered text; *ref* stands for it."""

    ref: Ref


Value = str | Hidden
Environment = Mapping[str, Value]
Read = Callable[[str], str | None]


class Flags(NamedTuple):
    """A command line taken apart. Names are without leading dashes and with ``-`` for ``_``."""

    positional: tuple[str, ...]
    named: Mapping[str, tuple[str, ...]]

    def first(self, *names: str) -> str | None:
        """The last value given for the first of *names* that is present: repeated flags override."""
        return next((self.named[name][-1] for name in names if self.named.get(name)), None)

    def every(self, *names: str) -> tuple[str, ...]:
        """All values of all *names*."""
        return tuple(value for name in names for value in self.named.get(name, ()))


def environment(container: Mapping[str, Any], path: str, context: Context) -> dict[str, Value]:
    """The environment of a container: ``envFrom`` first, ``env`` over it, ``$(VAR)`` expanded from what is above."""
    found: dict[str, Value] = {}
    for source, here in mappings(container, "envFrom", path):
        prefix = text(source, "prefix", here)
        name = text(mapping(source, "configMapRef", here), "name", f"{here}.configMapRef")
        data = context.data("ConfigMap", name) if name else None
        found.update({prefix + str(key): str(value) for key, value in (data or {}).items()})
    for entry, here in mappings(container, "env", path):
        name = text(entry, "name", here)
        source = mapping(entry, "valueFrom", here)
        found[name] = (
            _from_source(source, f"{here}.valueFrom", context) if source else expand(text(entry, "value", here), found)
        )
    return found


def _from_source(source: Mapping[str, Any], path: str, context: Context) -> Value:
    wanted = mapping(source, "configMapKeyRef", path)
    if wanted:
        name, key = text(wanted, "name", path), text(wanted, "key", path)
        data = context.data("ConfigMap", name)
        if data is not None and key in data:
            return str(data[key])
        canonical = f"configmap://{context.base('ConfigMap', name)}#{key}"
        return Hidden(unresolved(canonical, "configmap", canonical, NOT_RENDERED))
    secret = mapping(source, "secretKeyRef", path)
    if secret:
        name, key = text(secret, "name", path), text(secret, "key", path)
        canonical = f"secret://{context.base('Secret', name)}#{key}"
        return Hidden(opaque(canonical, "secret", canonical))
    field = text(mapping(source, "fieldRef", path), "fieldPath", path)
    return Hidden(opaque(f"field:{field}", "field", f"field:{field}"))


def expand(value: str, env: Environment) -> str:
    """``$(VAR)`` replaced by text values of *env*, ``$$`` by ``$``; what is unknown or hidden stays as written."""
    if "$" not in value:
        return value

    def one(match: re.Match[str]) -> str:
        found = env.get(match.group(1) or "")
        if match.group(0) == "$$":
            return "$"
        return found if isinstance(found, str) else match.group(0)

    expanded = _KUBE_VARIABLE.sub(one, value)
    return expanded if len(expanded) <= MAX_EXPANSION else value


def hidden(value: str, env: Environment) -> Ref | None:
    """The stand-in for *value* if it is exactly one variable whose content is not in the rendered text."""
    match = _WHOLE_VARIABLE.match(value)
    found = env.get(match.group(1)) if match else None
    return found.ref if isinstance(found, Hidden) else None


def commands(container: Mapping[str, Any], path: str, env: Environment, read: Read | None = None) -> list[list[str]]:
    """The commands that the container runs: its argv, or the simple commands of the script its shell is given.

    *read* gives the text of a file of the container where it is known.
    """
    argv = [expand(part, env) for field in ("command", "args") for part in texts(container, field, path)]
    script = _script(argv)
    if script is None and read is not None:
        script = _script_file(argv, read)
    return [argv] if script is None else list(_segments(script, dict(env)))


def _script(argv: Sequence[str]) -> str | None:
    """What follows ``-c`` when argv starts a shell."""
    start = 1 if argv and _program(argv[0]) in {"env", "tini", "dumb-init"} else 0
    while start < len(argv) and argv[start].startswith("-") and start > 0:
        start += 1
    if start >= len(argv) or _program(argv[start]) not in _SHELLS:
        return None
    for index in range(start + 1, len(argv)):
        option = argv[index]
        if option.startswith("-") and not option.startswith("--") and "c" in option:
            if index + 1 >= len(argv):
                return None
            return _with_parameters(argv[index + 1], argv[index + 3 :])
    return None


def _with_parameters(script: str, parameters: Sequence[str]) -> str:
    """*script* with all its parameters written out, where that keeps it within bounds."""
    given = shlex.join(parameters)
    number = len(_PARAMETERS.findall(script))
    return script if number * len(given) > MAX_EXPANSION else _PARAMETERS.sub(lambda _: given, script)


def _script_file(argv: Sequence[str], read: Read) -> str | None:
    """The text of the script that a shell is told to run, or that is started itself."""
    shell = bool(argv) and _program(argv[0]) in _SHELLS
    name = next((word for word in argv[1:] if not word.startswith("-")), "") if shell else "".join(argv[:1])
    found = read(name)
    return found if found is not None and (shell or _OF_A_SHELL.match(found)) else None


def _program(word: str) -> str:
    return word.rpartition("/")[2]


def _segments(script: str, env: dict[str, Value], depth: int = 3) -> Iterator[list[str]]:
    current: list[str] = []
    for word in [*_words(script), "\n"]:
        if word and set(word) <= _SEPARATORS:
            command = _command(current, env)
            # What eval or another shell is given is a script again.
            alone = len(command) == 1 and any(map(str.isspace, command[0]))
            inner = command[0] if alone else _script(command)
            if inner is not None and depth:
                yield from _segments(inner, env, depth - 1)
            elif command:
                yield command
            current = []
        else:
            expanded = _shell_expand(word, env)
            # A variable on its own holds words: nobody quotes a list of arguments.
            several = any(map(str.isspace, expanded)) and _SHELL_VARIABLE.fullmatch(word)
            current.extend(expanded.split() if several else [expanded])


def _words(script: str) -> list[str]:
    joined = unfolded(script, _SHELLS).replace("\\\r\n", " ").replace("\\\n", " ")
    joined = _SUBSTITUTION.sub(lambda match: match.group(0).translate(_PROTECT), joined)
    joined = _DUPLICATED_HANDLE.sub(" ", _PROCESS.sub(" ", joined))
    lines = "\n".join(_without_comment(line) for line in joined.splitlines())
    lexer = shlex.shlex(lines, posix=True, punctuation_chars=";&|\n()")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return [word.translate(_RESTORE) if not set(word) <= _SEPARATORS else word for word in lexer]
    except ValueError:
        # An unfinished quotation: a rough split still finds plain flags.
        return [word.translate(_RESTORE) for word in lines.replace("\n", " ; ").split()]


def _without_comment(line: str) -> str:
    single = double = counted = 0
    for match in re.finditer(r"(?:^|\s)#", line):
        single += line.count("'", counted, match.start())
        double += line.count('"', counted, match.start())
        counted = match.start()
        if single % 2 == 0 and double % 2 == 0:
            return line[:counted]
    return line


def _shell_expand(word: str, env: Environment) -> str:
    def one(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        found = env.get(name)
        if isinstance(found, str):
            return found
        if isinstance(found, Hidden):
            return f"$({name})"
        return match.group(3) if match.group(3) is not None else match.group(0)

    expanded = _SHELL_VARIABLE.sub(one, word) if "$" in word else word
    return expanded if len(expanded) <= MAX_EXPANSION else word


def _command(words: list[str], env: dict[str, Value]) -> list[str]:
    """*words* without leading keywords and assignments; a line of assignments only goes into *env*."""
    index, assigned = 0, {}
    while index < len(words):
        assignment = _ASSIGNMENT.match(words[index])
        if assignment:
            assigned[assignment.group(1)] = assignment.group(2)
        elif words[index] not in _PREFIXES and words[index] not in {"export", "set"}:
            break
        index += 1
    if index == len(words):
        env.update(assigned)
    return words[index:]


def flags(argv: Sequence[str], switches: frozenset[str] = frozenset(), lists: frozenset[str] = frozenset()) -> Flags:
    """*argv* (without the program) taken apart. *switches* take no value, *lists* several."""
    named: dict[str, list[str]] = {}
    positional: list[str] = []
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if not word.startswith("-") or word in {"-", "--"} or _NEGATIVE.match(word):
            positional += [word] if word not in {"-", "--"} else []
            continue
        name, (_, equals, value) = flag_name(word), word.partition("=")
        values = named.setdefault(name, [])
        if equals:
            values.append(value)
            continue
        if name in switches or index >= len(argv) or _is_flag(argv[index]):
            values.append("true")
            continue
        values.append(argv[index])
        index += 1
        while name in lists and index < len(argv) and not _is_flag(argv[index]):
            values.append(argv[index])
            index += 1
    return Flags(tuple(positional), {name: tuple(values) for name, values in named.items()})


def flag_name(word: str) -> str:
    """The name in ``--name`` or ``--name=value``, with ``-`` for ``_``."""
    return word.lstrip("-").partition("=")[0].replace("_", "-")


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not _NEGATIVE.match(word)
