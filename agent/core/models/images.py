"""Registry references: container images, image volumes, ``oci://`` and ``docker://`` model URIs.

Normalisation follows the distribution reference grammar and Docker Hub's short names: no registry means
``docker.io``, one name means ``library/``, no tag means ``latest``. A digest decides, the tag beside it is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from agent.core.models.ref import MALFORMED, Digest, Identity, Ref, unresolved
from agent.core.models.spelled import Grammar, Spelled

_DIGEST: Final = re.compile(r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")
_REPOSITORY: Final = re.compile(r"^[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$", re.IGNORECASE)
_TAG: Final = re.compile(r"^\w[\w.-]{0,127}$", re.ASCII)
_ORACLE: Final = re.compile(r"^n/([^/]+)/b/([^/]+)/o/(.+)$|^([^/:@]+)/([^/:@]+)/(.+)$")
_HUB_ALIASES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


def image(spelled: Spelled) -> Ref:
    """A reference to an image or artifact in a registry."""
    name, at, digest = spelled.body.partition("@")
    if spelled.revision and not at:
        digest, at = (spelled.revision, "@") if _DIGEST.match(spelled.revision) else ("", "")
    repository, tag = _split_tag(name)
    registry, path = _split_registry(repository)
    where = f"oci://{registry}/{path}"
    if not _REPOSITORY.match(path) or (tag and not _TAG.match(tag)):
        return unresolved(spelled.text, "oci", f"oci://{spelled.body}", MALFORMED)
    if at:
        if not _DIGEST.match(digest):
            return unresolved(spelled.text, "oci", f"{where}@{digest}", MALFORMED)
        algorithm, _, value = digest.partition(":")
        return Ref(
            spelled.text,
            "oci",
            f"{where}@{digest}",
            True,
            Identity(revision=digest),
            Digest(algorithm, value, "manifest", algorithm),
        )
    return unresolved(spelled.text, "oci", f"{where}:{tag or spelled.revision or 'latest'}")


def oci(spelled: Spelled) -> Ref:
    """``oci://``: a registry, except for OME, where it is Oracle object storage."""
    if spelled.grammar is Grammar.OME:
        found = _ORACLE.match(spelled.body)
        if found is None:
            return unresolved(spelled.text, "oci-object", f"oci-object://{spelled.body}", MALFORMED)
        namespace, bucket, key = (found.group(i) or found.group(i + 3) for i in (1, 2, 3))
        return unresolved(spelled.text, "oci-object", f"oci-object://{namespace}/{bucket}/{key.rstrip('/')}")
    return image(spelled)


def _split_tag(name: str) -> tuple[str, str]:
    slash, colon = name.rfind("/"), name.rfind(":")
    return (name[:colon], name[colon + 1 :]) if colon > slash else (name, "")


def _split_registry(repository: str) -> tuple[str, str]:
    first, slash, rest = repository.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        registry, path = "docker.io", repository
    else:
        registry, path = first.lower(), rest
    if registry in _HUB_ALIASES:
        registry = "docker.io"
        path = path if "/" in path else f"library/{path}"
    return registry, path


SCHEMES: Final[Mapping[str, Callable[[Spelled], Ref]]] = {"oci": oci, "docker": image}
