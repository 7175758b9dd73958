"""New commits in a mirror: some files of a commit replaced, signed if there is a key."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping

import pygit2
from pygit2.enums import FileMode, ObjectType

from agent.adapters.git.errors import GitOperationError
from agent.adapters.git.objects import ObjectStore, Person

_FILES = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A commit to make on `parent` and to push to `branch`; with `creates` the branch must not exist yet.

    `files` are new contents of files that `parent` has. `sign` takes the commit's bytes and gives an armored
    signature.
    """

    branch: str
    parent: str
    files: Mapping[str, bytes]
    message: str
    committer: Person
    creates: bool = False
    sign: Callable[[bytes], str] | None = None


def written(store: ObjectStore, publication: Publication) -> str:
    """Write the commit into the repository on disk; its id (blocking).

    Raises GitOperationError for a path that is no file of the parent, MissingObjectError for a damaged mirror.
    """
    with store.open() as repository:
        root = repository[publication.parent].peel(pygit2.Tree)
        index = pygit2.Index()
        index.read_tree(root)
        for path, data in publication.files.items():
            index.add(pygit2.IndexEntry(path, repository.create_blob(data), _mode(root, path)))
        tree = index.write_tree(repository)
        who = _signature(publication.committer)
        content = _content(str(tree), publication.parent, who, publication.message)
        if publication.sign is None:
            return str(repository.odb.write(ObjectType.COMMIT, content.encode()))
        signature = publication.sign(content.encode()).rstrip("\n")
        return str(repository.create_commit_with_signature(content, signature))


def _mode(root: pygit2.Tree, path: str) -> FileMode:
    try:
        mode = root[path].filemode
    except KeyError:
        raise GitOperationError(f"{path} is no file of the repository") from None
    if mode not in _FILES:
        raise GitOperationError(f"{path} is no plain file of the repository")
    return FileMode(mode)


def _content(tree: str, parent: str, who: str, message: str) -> str:
    return f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n{message}"


def _signature(person: Person) -> str:
    offset = person.when.utcoffset() or dt.timedelta()
    minutes = int(offset.total_seconds()) // 60
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    return f"{person.name} <{person.email}> {int(person.when.timestamp())} {zone}"
