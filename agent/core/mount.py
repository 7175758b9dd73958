"""One tree within another: what `spec.include` of a GitRepository makes of two of them.

Paths are confined as Flux confines them: a ".." that would leave the tree stays at its root. What is copied never
merges with what is there: only a file may take the place of a file.
"""

from __future__ import annotations

from agent.core.tree import Entry, Stat, Tree, parent_and_name


class MountError(ValueError):
    """What was asked for cannot be copied, or not to that place."""


def confined(path: str) -> str:
    """The path below the root with "." and ".." resolved."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class MountedTree:
    """`base` with the folder or file `source` of `other` at the path `target`.

    Raises MountError if there is no `source`, or if `target` is taken (blocking, as trees are).
    """

    def __init__(self, base: Tree, target: str, other: Tree, source: str) -> None:
        self._base = base
        self._other = other
        self._source = confined(source)
        self._target = confined(target)
        stat = other.stat(self._source)
        if stat is None:
            raise MountError(f"cannot stat '{self._source}': no such file or directory")
        self._kind = stat.kind
        self._check_target()

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        inside = self._inside(path)
        if inside is not None:
            return self._other.stat(inside)
        return Stat("dir", 0, "") if self._leads_on(path) else self._base.stat(path)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        inside = self._inside(path)
        if inside is not None:
            return self._other.read(inside)
        if self._leads_on(path):
            raise IsADirectoryError(path)
        return self._base.read(path)

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        inside = self._inside(path)
        if inside is not None:
            return self._other.list(inside)
        if not self._leads_on(path):
            return self._base.list(path)
        below = self._target[len(path) + 1 :] if path else self._target
        name, _, more = below.partition("/")
        entries = {entry.name: entry for entry in (self._base.list(path) if self._base.stat(path) else ())}
        entries[name] = Entry(name, "dir" if more else self._kind)
        return tuple(entries[known] for known in sorted(entries))

    def _check_target(self) -> None:
        there = self._base.stat(self._target)
        if there is not None and "dir" in (there.kind, self._kind):
            raise MountError(f"'{self._target or '.'}' exists already")
        above, _ = parent_and_name(self._target)
        while above:
            stat = self._base.stat(above)
            if stat is not None and stat.kind == "file":
                raise MountError(f"'{above}' is not a directory")
            above, _ = parent_and_name(above)

    def _inside(self, path: str) -> str | None:
        """The path in the other tree, None if it does not lead there."""
        if path == self._target:
            return self._source
        if not path.startswith(f"{self._target}/"):
            return None
        below = path[len(self._target) + 1 :]
        return f"{self._source}/{below}" if self._source else below

    def _leads_on(self, path: str) -> bool:
        return not path or self._target.startswith(f"{path}/")
