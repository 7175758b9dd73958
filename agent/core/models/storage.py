"""Object stores, web addresses, volumes and paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from agent.core.digits import whole
from agent.core.models import hubs
from agent.core.models.redact import HIDDEN
from agent.core.models.ref import MALFORMED, OFFLINE, Identity, Ref, opaque, unresolved
from agent.core.models.spelled import Grammar, Spelled

_COMMIT: Final = re.compile(r"^[0-9a-f]{40}$|^[0-9a-f]{64}$")
_AZURE_HOST: Final = re.compile(
    r"^([a-z0-9]+)(?:-secondary)?\.(?:z\d+\.)?(?:blob|file|dfs)\.(?:core\.windows\.net|storage\.azure\.net)$"
)
_GITHUB_ARCHIVE: Final = re.compile(
    r"^/[^/]+/[^/]+/(?:archive|zip|tar\.gz|legacy\.zip)/([0-9a-f]{40})(?:\.zip|\.tar\.gz)?$"
)
_HUB_PAGE: Final = re.compile(r"^/(datasets/|spaces/)?([^/]+/[^/]+)(?:/(?:resolve|tree|blob)/([^/]+)(?:/(.+))?)?/?$")
_TABLE_IN: Final = re.compile(r"^delta\+([a-z0-9]+)://", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class _Address(NamedTuple):
    host: str
    path: str
    query: tuple[tuple[str, str], ...]
    fragment: str

    def argument(self, *names: str) -> str | None:
        """The value of the first query argument whose name is one of *names*, lower case."""
        return next((value for name, value in self.query if name.lower() in names), None)

    def tail(self, *drop: str) -> str:
        """The query in a fixed order, without *drop* and without what was hidden."""
        kept = sorted((k, v) for k, v in self.query if k.lower() not in drop and v != HIDDEN)
        return "?" + "&".join(f"{k}={v}" if v else k for k, v in kept) if kept else ""


def _split(body: str) -> _Address:
    rest, _, fragment = body.partition("#")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    pairs = tuple((k, v) for k, _, v in (part.partition("=") for part in query.split("&") if part))
    return _Address(authority.rpartition("@")[2], slash + path, pairs, fragment)


def _without_user(body: str) -> str:
    """What follows the scheme, where ``@`` also pins: only what was hidden is taken for a user."""
    return body.removeprefix(f"{HIDDEN}@")


def delta(spelled: Spelled) -> Ref:
    """A Delta table: a version (``@v3`` or ``?versionAsOf=3``) pins, a time does so by convention.

    The store may be named (``delta+s3://``, or its own address with one of the arguments), else the policy knows it.
    """
    store = spelled.scheme if spelled.scheme != "delta" else _store(spelled.text)
    where, _, tail = _without_user(spelled.body).partition("?")
    named = re.search(r"@v(\d+)/?$", where)
    where = where[: named.start()] if named else where
    arguments = dict(part.partition("=")[::2] for part in tail.split("&") if part)
    found = {name.lower(): value for name, value in arguments.items()}
    version = named.group(1) if named else found.get("versionasof", "")
    canonical = f"delta{f'+{store}' if store else ''}://{where.rstrip('/')}"
    if (number := whole(version)) is not None:
        return Ref(spelled.text, "delta", f"{canonical}@v{number}", True, Identity(version=version))
    if time := found.get("timestampasof"):
        return Ref(spelled.text, "delta", f"{canonical}?timestampAsOf={time}", "soft", Identity(version=time))
    return unresolved(spelled.text, "delta", canonical)


def _store(text: str) -> str:
    found = _TABLE_IN.match(text)
    return found.group(1).lower() if found else ""


def iceberg(spelled: Spelled) -> Ref:
    """``catalog/namespace.table``: ``@`` and the number of a snapshot pin; a branch or tag (``#name``) may move."""
    body = _without_user(spelled.body).rstrip("/")
    where, at, snapshot = body.partition("@")
    if at and snapshot.isascii() and snapshot.isdigit():
        return Ref(spelled.text, "iceberg", f"iceberg://{where}@{snapshot}", True, Identity(version=snapshot))
    where, _, name = body.partition("#")
    return unresolved(spelled.text, "iceberg", f"iceberg://{where}#{name or 'main'}", OFFLINE if not at else MALFORMED)


def s3(spelled: Spelled) -> Ref:
    """S3 and its look-alikes. An object version in ``?versionId=`` pins; a bare key does not."""
    scheme = spelled.scheme if spelled.scheme in {"oss", "r2", "minio"} else "s3"
    address = _split(spelled.body)
    version = address.argument("versionid")
    where = f"{scheme}://{address.host}{address.path.rstrip('/')}{address.tail('versionid')}"
    if version:
        canonical = f"{where}{'&' if '?' in where else '?'}versionId={version}"
        return Ref(spelled.text, "s3", canonical, True, Identity(version=version))
    return unresolved(spelled.text, "s3", where)


def gs(spelled: Spelled) -> Ref:
    """Google Cloud Storage: ``#generation`` pins an object."""
    address = _split(spelled.body)
    where = f"gs://{address.host}{address.path.rstrip('/')}"
    generation = address.fragment
    if generation.isascii() and generation.isdigit():
        return Ref(spelled.text, "gs", f"{where}#{generation}", True, Identity(generation=generation))
    return unresolved(spelled.text, "gs", where + (f"#{generation}" if generation else ""))


def azure(spelled: Spelled) -> Ref:
    """Azure Blob and Data Lake storage in the spellings of KServe, Hadoop (abfs, wasb) and Triton (as)."""
    address = _split(spelled.body)
    if spelled.scheme == "as":
        found = _AZURE_HOST.match(address.host.lower())
        return _azure(spelled, found.group(1) if found else address.host, address.path, address)
    # abfs and wasb write the container where others write the user.
    container, at, host = spelled.body.partition("/")[0].partition("@")
    found = _AZURE_HOST.match(host.lower())
    if not at or not container:
        return unresolved(spelled.text, "azure", f"azure://{spelled.body.rstrip('/')}", MALFORMED)
    return _azure(spelled, found.group(1) if found else host, f"/{container}{address.path}", address)


def _azure(spelled: Spelled, account: str, path: str, address: _Address) -> Ref:
    version = address.argument("versionid", "snapshot")
    where = f"azure://{account}{path.rstrip('/')}"
    if version:
        return Ref(spelled.text, "azure", f"{where}?version={version}", True, Identity(version=version))
    return unresolved(spelled.text, "azure", where)


def http(spelled: Spelled) -> Ref:
    """A web address: a hub page, Azure storage, a Git clone (``.git``, as KServe reads it) or a plain download."""
    address = _split(spelled.body)
    host, _, port = address.host.lower().partition(":")
    if not host:
        return unresolved(spelled.text, "http", spelled.text, MALFORMED)
    if _AZURE_HOST.match(host):
        if ".file." in host:  # a share, which is another thing than a container of the same name
            share = f"azure-file://{host.partition('.')[0]}{address.path.rstrip('/')}"
            return unresolved(spelled.text, "azure-file", share)
        return _azure(spelled, host.partition(".")[0], address.path, address)
    if host in {"huggingface.co", "hf.co"} and (found := _HUB_PAGE.match(address.path)):
        kind, name, revision, path = found.groups()
        return hubs.hub(spelled.text, name, revision or spelled.revision, kind or "", f"/{path}" if path else "")
    authority = host if port in {"", _DEFAULT_PORTS.get(spelled.scheme)} else f"{host}:{port}"
    where = f"{spelled.scheme}://{authority}{address.path.rstrip('/')}{address.tail()}"
    if host in {"github.com", "codeload.github.com"} and (archive := _GITHUB_ARCHIVE.match(address.path)):
        return Ref(spelled.text, "http", where, True, Identity(revision=archive.group(1)))
    if address.path.rstrip("/").endswith(".git"):
        return git_clone(spelled, where, address.fragment)
    return unresolved(spelled.text, "http", where)


def git_clone(spelled: Spelled, where: str, fragment: str = "") -> Ref:
    """A repository to clone: a full commit pins it."""
    revision = spelled.revision or fragment
    canonical = f"{where}@{revision}" if revision else where
    if _COMMIT.match(revision):
        return Ref(spelled.text, "git", canonical, True, Identity(revision=revision))
    return unresolved(spelled.text, "git", canonical)


def hdfs(spelled: Spelled) -> Ref:
    """Hadoop file systems: nothing in the text fixes the content."""
    return unresolved(spelled.text, "hdfs", f"{spelled.scheme}://{spelled.body.rstrip('/')}")


def pvc(spelled: Spelled) -> Ref:
    """A folder of a volume claim; OME may put the namespace before the claim."""
    return opaque(spelled.text, "pvc", f"pvc://{spelled.body.rstrip('/')}")


def path(spelled: Spelled) -> Ref:
    """A path in the container or on the node."""
    scheme = "hostPath" if spelled.scheme in {"hostpath", "local"} and spelled.grammar is Grammar.OME else "file"
    return opaque(spelled.text, scheme, f"{scheme}:///{spelled.body.strip('/')}")


def lakefs(spelled: Spelled) -> Ref:
    """lakeFS: a commit id pins; a tag does so by convention and cannot be told from a branch by its text."""
    repository, _, rest = spelled.body.partition("/")
    revision, _, key = rest.partition("/")
    canonical = f"lakefs://{repository}/{revision}/{key}".rstrip("/")
    if re.fullmatch(r"[0-9a-f]{64}", revision):
        return Ref(spelled.text, "lakefs", canonical, True, Identity(revision=revision))
    reason = OFFLINE if repository and revision else MALFORMED
    return unresolved(spelled.text, "lakefs", canonical, reason)


def pachyderm(spelled: Spelled) -> Ref:
    """Pachyderm: ``repo@commit`` pins, ``repo@branch`` floats."""
    where, at, rest = spelled.body.partition("@")
    revision, _, key = rest.partition(":")
    canonical = f"pfs://{where}@{revision or 'master'}" + (f":{key}" if key else "")
    if at and re.fullmatch(r"[0-9a-f]{32}", revision):
        return Ref(spelled.text, "pachyderm", canonical, True, Identity(revision=revision))
    return unresolved(spelled.text, "pachyderm", canonical)


def dvc(spelled: Spelled) -> Ref:
    """A path in a DVC repository; the hash is in the file that tracks it."""
    return unresolved(spelled.text, "dvc", f"dvc://{spelled.body.rstrip('/')}")


SCHEMES: Final[Mapping[str, Callable[[Spelled], Ref]]] = {
    **dict.fromkeys(("s3", "s3a", "s3n", "minio", "oss", "r2"), s3),
    **dict.fromkeys(("gs", "gcs"), gs),
    **dict.fromkeys(("abfs", "abfss", "wasb", "wasbs", "as", "azure"), azure),
    **dict.fromkeys(("http", "https"), http),
    **dict.fromkeys(("hdfs", "webhdfs"), hdfs),
    "pvc": pvc,
    **dict.fromkeys(("file", "hostpath", "local", "dbfs"), path),
    "delta": delta,
    "iceberg": iceberg,
    "lakefs": lakefs,
    "pfs": pachyderm,
    "dvc": dvc,
}
