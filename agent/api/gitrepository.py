"""The GitRepository kind (source.toolkit.fluxcd.io/v1), field for field as Flux defines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from agent.api.duration import parse_duration
from agent.api.meta import (
    AGE_COLUMN,
    READY_COLUMN,
    STATUS_COLUMN,
    Artifact,
    Condition,
    CrdOptions,
    Duration,
    Int64,
    LocalObjectReference,
    PrinterColumn,
    Resource,
    schema,
)
from agent.api.meta import ApiStruct as Struct

DEFAULT_BRANCH = "master"


class GitRepositoryRef(Struct, frozen=True, kw_only=True):
    """Which revision to follow. The most exact one given counts: commit, name, tag, semver, then branch."""

    branch: str | None = None
    """Branch whose head is followed; master where nothing at all is given."""
    tag: str | None = None
    """Tag to check out."""
    semver: str | None = None
    """Version range; the highest tag in it is checked out."""
    name: str | None = None
    """Full reference name, such as refs/heads/main or refs/pull/420/head."""
    commit: str | None = None
    """Commit to check out; with a branch, only that branch is searched for it."""


class GitRepositoryVerification(Struct, frozen=True, kw_only=True):
    """Signature check of what was fetched."""

    mode: Annotated[str, schema(default="HEAD", enum=["head", "HEAD", "Tag", "TagAndHEAD"])] = "HEAD"
    """Which Git objects must carry a good signature: the commit, the tag, or both."""
    secret_ref: LocalObjectReference
    """Secret holding the trusted public keys."""


class GitRepositoryInclude(Struct, frozen=True, kw_only=True):
    """Another GitRepository whose content is copied into this one's artifact."""

    repository: LocalObjectReference
    """The GitRepository to copy from, in the same namespace."""
    from_path: str | None = None
    """Folder to copy; the root where absent."""
    to_path: str | None = None
    """Folder to copy to; named after the repository where absent."""


class GitRepositorySpec(Struct, frozen=True, kw_only=True):
    """Where the repository is, which revision of it is wanted and how often to look."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "x-kubernetes-validations": [
            {
                "rule": (
                    "!has(self.serviceAccountName) || "
                    "(has(self.provider) && (self.provider == 'azure' || self.provider == 'aws'))"
                ),
                "message": "serviceAccountName can only be set when provider is 'azure' or 'aws'",
            }
        ]
    }

    url: Annotated[str, schema(pattern="^(http|https|ssh)://.*$")]
    """Address of the repository, over http, https or ssh."""
    interval: Duration
    """Time between two looks at the repository."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the credentials: username and password, bearerToken, or identity and known_hosts for ssh."""
    provider: Annotated[str, schema(enum=["generic", "aws", "azure", "github"])] | None = None
    """Where credentials come from: the Secret (generic, the default) or the identity of a cloud or GitHub App."""
    service_account_name: str | None = None
    """ServiceAccount in the same namespace whose cloud identity is used to log in."""
    timeout: Annotated[str, schema(default="60s", pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$")] = "60s"
    """Longest time that one fetch may take."""
    ref: GitRepositoryRef | None = None
    """Revision to follow; the branch master where absent."""
    verify: GitRepositoryVerification | None = None
    """Signature check that a commit must pass before it is used."""
    proxy_secret_ref: LocalObjectReference | None = None
    """Secret with the address, and perhaps username and password, of the proxy to go through."""
    ignore: str | None = None
    """Patterns in the format of gitignore for files to leave out of the artifact."""
    suspend: bool = False
    """Leaves the repository alone for as long as it is true."""
    recurse_submodules: bool = False
    """Checks submodules out too, with the same credentials."""
    include: tuple[GitRepositoryInclude, ...] = ()
    """Other GitRepositories to copy into the artifact."""
    sparse_checkout: tuple[str, ...] = ()
    """The only folders to take from the repository; all of them must exist."""


class GitRepositoryStatus(Struct, frozen=True, kw_only=True):
    """What was fetched last and how it went."""

    observed_generation: Int64 = 0
    """The last metadata.generation that was acted upon."""
    conditions: tuple[Condition, ...] = ()
    """State of the repository; Ready says whether the artifact is current."""
    artifact: Artifact | None = None
    """The stored copy of the last good fetch."""
    included_artifacts: tuple[Artifact, ...] = ()
    """The artifacts that were copied in."""
    observed_ignore: str | None = None
    """The ignore patterns that the artifact was built with."""
    observed_recurse_submodules: bool = False
    """Whether the artifact was built with submodules."""
    observed_include: tuple[GitRepositoryInclude, ...] = ()
    """The includes that the artifact was built with."""
    observed_sparse_checkout: tuple[str, ...] = ()
    """The folders that the artifact was limited to."""
    source_verification_mode: str | None = None
    """The signature check that the artifact passed."""
    last_handled_reconcile_at: str | None = None
    """The last value of the annotation reconcile.fluxcd.io/requestedAt that was acted upon."""


class GitRepository(Resource, frozen=True, kw_only=True):
    """A Git repository whose content is to be made available in the cluster."""

    GROUP: ClassVar[str] = "source.toolkit.fluxcd.io"
    VERSION: ClassVar[str] = "v1"
    API_VERSION: ClassVar[str] = "source.toolkit.fluxcd.io/v1"
    KIND: ClassVar[str] = "GitRepository"
    PLURAL: ClassVar[str] = "gitrepositories"
    CRD: ClassVar[CrdOptions] = CrdOptions(
        categories=("all", "fluxcd", "fluxcd-sources"),
        short_names=("gitrepo",),
        columns=(PrinterColumn("URL", ".spec.url"), AGE_COLUMN, READY_COLUMN, STATUS_COLUMN),
        status_default={"observedGeneration": -1},
        annotations={"kustomize.toolkit.fluxcd.io/substitute": "disabled"},
    )

    spec: GitRepositorySpec
    status: GitRepositoryStatus = GitRepositoryStatus()

    @property
    def interval(self) -> float:
        """Seconds between two looks. Raises ValueError if the field is no duration."""
        return parse_duration(self.spec.interval)

    @property
    def timeout(self) -> float:
        """Seconds that one fetch may take. Raises ValueError if the field is no duration."""
        return parse_duration(self.spec.timeout)

    @property
    def ref(self) -> GitRepositoryRef:
        """The wanted reference, with Flux's default branch where the spec names none."""
        ref = self.spec.ref or GitRepositoryRef()
        return ref if ref != GitRepositoryRef() else GitRepositoryRef(branch=DEFAULT_BRANCH)
