"""Whether a Kustomization is built from the repository that is looked at."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.api.kustomization import Kustomization
from agent.core.plan.fluxobjects import DEFAULT_NAMESPACE

_SCP: Final = re.compile(r"^(?:[^@/]+@)?([^:/]+):(?!//)(.+)$")
_URL: Final = re.compile(r"^[a-z+]+://(?:[^@/]*@)?([^/:]+)(?::\d+)?/(.+)$", re.IGNORECASE)


class Origin(enum.Enum):
    """Where a Kustomization's files are."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"


def origin_of(
    kustomization: Kustomization, repositories: Iterable[Mapping[str, Any]], addresses: Iterable[str]
) -> Origin:
    """HERE or ELSEWHERE where addresses tell, else UNKNOWN: then its path decides."""
    reference = kustomization.spec.source_ref
    if reference.kind != "GitRepository":
        return Origin.ELSEWHERE
    known = {_place(address) for address in addresses} - {None}
    urls = {_key(repository): _place(_url(repository)) for repository in repositories}
    if not known or not known & set(urls.values()):
        return Origin.UNKNOWN
    wanted = urls.get((kustomization.source_namespace, reference.name))
    if wanted is None:
        return Origin.UNKNOWN
    return Origin.HERE if wanted in known else Origin.ELSEWHERE


def ignored_by(repositories: Iterable[Mapping[str, Any]], addresses: Iterable[str]) -> str:
    """`spec.ignore` of the GitRepository that stands for this repository: by its address, else the only one."""
    repositories = list(repositories)
    known = {_place(address) for address in addresses} - {None}
    ours = [repository for repository in repositories if _place(_url(repository)) in known] or repositories
    spec = ours[0].get("spec") if len(ours) == 1 else None
    return str(spec.get("ignore") or "") if isinstance(spec, Mapping) else ""


def _key(repository: Mapping[str, Any]) -> tuple[str, str]:
    metadata = repository.get("metadata")
    if not isinstance(metadata, Mapping):
        return "", ""
    return str(metadata.get("namespace") or DEFAULT_NAMESPACE), str(metadata.get("name") or "")


def _url(repository: Mapping[str, Any]) -> str:
    spec = repository.get("spec")
    return str(spec.get("url") or "") if isinstance(spec, Mapping) else ""


def _place(address: str) -> tuple[str, str] | None:
    """Host and path, the same for every protocol; None for what has no host."""
    found = _URL.match(address) or _SCP.match(address)
    if found is None:
        return None
    return found[1].lower(), found[2].rstrip("/").removesuffix(".git").lower()
