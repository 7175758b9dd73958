"""Flux's feature gates: `--feature-gates=A=true,B=false`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

_GATE = "gate"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_bool(text: str) -> bool:
    """Go's spellings of a boolean (`strconv.ParseBool`). Raises ValueError for any other text."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _gate(name: str, *, default: bool = False) -> bool:
    value: bool = field(default=default, metadata={_GATE: name})
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureGates:
    """What is on, with the defaults of Flux's kustomize-controller and source-controller."""

    cache_secrets_and_config_maps: bool = _gate("CacheSecretsAndConfigMaps")
    disable_status_poller_cache: bool = _gate("DisableStatusPollerCache", default=True)
    disable_fail_fast_behavior: bool = _gate("DisableFailFastBehavior")
    strict_post_build_substitutions: bool = _gate("StrictPostBuildSubstitutions", default=True)
    group_change_log: bool = _gate("GroupChangeLog")
    additive_cel_dependency_check: bool = _gate("AdditiveCELDependencyCheck")
    external_artifact: bool = _gate("ExternalArtifact")
    cancel_health_check_on_new_revision: bool = _gate("CancelHealthCheckOnNewRevision")
    disable_config_watchers: bool = _gate("DisableConfigWatchers")
    direct_source_fetch: bool = _gate("DirectSourceFetch")
    migrate_api_version: bool = _gate("MigrateAPIVersion")
    object_level_workload_identity: bool = _gate("ObjectLevelWorkloadIdentity")

    @classmethod
    def parse(cls, text: str) -> FeatureGates:
        """Gates as `A=true,B=false`, the last mention of a name counts.

        Raises ValueError for an unknown name, which lists the known ones, and for a value that is no boolean.
        """
        attributes = {name: attribute for attribute, name in _names()}
        chosen: dict[str, bool] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, separator, value = (piece.strip() for piece in part.partition("="))
            if name not in attributes:
                raise ValueError(f"feature-gate '{name}' not supported, known are {', '.join(sorted(attributes))}")
            if not separator:
                raise ValueError(f"feature-gate '{name}' has no value: write {name}=true or {name}=false")
            try:
                chosen[attributes[name]] = parse_bool(value)
            except ValueError as error:
                raise ValueError(f"feature-gate '{name}': {error}") from None
        return replace(cls(), **chosen)

    def without_effect(self) -> tuple[str, ...]:
        """Names of the gates that were set and that change nothing here, for the log.

        Secrets and ConfigMaps are never cached, sources are always read as they are, there is no status poller to have
        a cache, and news always end a wait for health.
        """
        plain = FeatureGates()
        changed = [name for attribute, name in _names() if getattr(self, attribute) != getattr(plain, attribute)]
        return tuple(name for name in changed if name in _WITHOUT_EFFECT)


_WITHOUT_EFFECT = frozenset(
    {
        "CacheSecretsAndConfigMaps",
        "CancelHealthCheckOnNewRevision",
        "DirectSourceFetch",
        "DisableStatusPollerCache",
    }
)


def _names() -> Iterator[tuple[str, str]]:
    """Attribute and name of each gate."""
    return ((one.name, one.metadata[_GATE]) for one in fields(FeatureGates))
