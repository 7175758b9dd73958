"""How the registries that policies name are reached: their addresses, and credentials of Secrets or of identities."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from agent.adapters.identity import IdentityError
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError, NotFound
from agent.adapters.kube.resource import SECRETS
from agent.adapters.registries import Access
from agent.adapters.registries.logins import PROVIDERS, RegistryLogins, Wanted
from agent.adapters.registries.resolver import AccessFor
from agent.api.changepolicy import ChangePolicy, Registry
from agent.controllers.workloadidentity import WorkloadAccounts
from agent.core.models import Ref
from agent.core.registries.outcome import Missing, Reason
from agent.core.registries.whom import entries_for
from agent.errors import OperationError, WeirError
from agent.telemetry.tokencache import Asker

_INDIRECT: Final = frozenset({"mlflow", "dvc", "delta", "model-registry"})
"""Schemes that lead to a store, for which another entry answers."""


class CredentialsError(OperationError):
    """The Secret that a policy names is of no use."""


class RegistryAccess:
    """Reads the Secrets that policies name, and nothing else, with the agent's own rights; logs in to clouds."""

    def __init__(self, client: KubeClient, logins: RegistryLogins, accounts: WorkloadAccounts) -> None:
        self._client = client
        self._logins = logins
        self._accounts = accounts

    async def prepared(self, policies: Sequence[ChangePolicy], refs: Sequence[Ref], source: str = "") -> AccessFor:
        """Who may be asked about the references, and how. `source` is the address of the repository they are from."""
        entries = [
            (policy, registry)
            for policy in policies
            if policy.spec.resolution is not None
            for registry in policy.spec.resolution.registries
        ]
        needed = [entry for entry in entries if any(answers(entry[1], ref) for ref in refs)]
        if any(registry.scheme in _INDIRECT for _, registry in needed):
            needed = entries
        reached = await asyncio.gather(*(self._reached(policy, registry, source) for policy, registry in needed))
        # what a store tells about a reference that leads to it depends on the credentials for the store as well
        scopes = "\n".join(sorted({access.scope for access in reached}))
        together = hashlib.sha256(scopes.encode()).hexdigest()
        known = [
            (registry, replace(access, scope=f"{access.scope} {together}") if registry.scheme in _INDIRECT else access)
            for (_, registry), access in zip(needed, reached, strict=True)
        ]

        def access_for(ref: Ref) -> Access | None:
            return next((access for registry, access in known if answers(registry, ref)), None)

        return access_for

    async def _reached(self, policy: ChangePolicy, registry: Registry, source: str) -> Access:
        endpoint, remote = registry.endpoint or "", registry.remote or ""
        if registry.scheme == "git-lfs":
            endpoint = endpoint or lfs_endpoint(source)
        if registry.scheme == "dvc" and not remote:
            return refused("unsupported", f"{_named(policy, registry)} names no remote: set it")
        if registry.provider and registry.provider != "generic":
            return await self._logged_in(policy, registry)
        scope = f"{endpoint} {remote}"
        if registry.secret_ref is None:
            return Access(endpoint, scope=scope, remote=remote)
        name = registry.secret_ref.name
        try:
            entries, version = await credentials(self._client, policy.namespace, name)
        except CredentialsError as error:
            return refused("auth", f"{_named(policy, registry)}: {error.message}")
        field = _field_that_names_the_receiver(registry)
        if field and entries.keys() & {"token", "password"}:
            where = _named(policy, registry)
            return refused("auth", f"{where} has a password and no {field}: set the {field} that gets it")
        scope = f"{scope} {policy.namespace}/{name} {version}"
        return Access(endpoint, entries, scope=scope, remote=remote)

    async def _logged_in(self, policy: ChangePolicy, registry: Registry) -> Access:
        provider = registry.provider or ""
        where = _named(policy, registry)
        if registry.secret_ref is not None or registry.endpoint:
            return refused("auth", f"{where}: with provider {provider}, secretRef and endpoint cannot be set")
        if registry.scheme not in PROVIDERS.get(provider, ()):
            return refused("auth", f"{where}: provider {provider} is not for scheme {registry.scheme}")
        wanted = Wanted(provider, registry.scheme, (registry.host or "").lower(), registry.region or "")
        asker = Asker(ChangePolicy.KIND, policy.namespace, policy.name)
        try:
            account = self._accounts.account(policy.namespace, registry.service_account_name, "serviceAccountName")
            login = await self._logins.log_in(wanted, account, asker)
        except (IdentityError, WeirError) as error:
            return refused("auth", f"{where}: {error}")
        scope = f"{'|'.join(wanted)} {account or ''}"
        return Access(login.endpoint, login.entries, scope=scope)


async def credentials(client: KubeClient, namespace: str, name: str) -> tuple[dict[str, str], str]:
    """The entries of a Secret, and its version. Raises CredentialsError, with nothing of the content in it."""
    shown = f"Secret {namespace}/{name}"
    try:
        secret = await client.get(SECRETS, namespace, name)
        entries = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
    except NotFound:
        raise CredentialsError(f"{shown} is not there", reason="SecretNotFound") from None
    except ApiError as error:
        raise CredentialsError(f"{shown} cannot be read: {error.message}", reason="SecretNotReadable") from None
    except (binascii.Error, UnicodeDecodeError):
        raise CredentialsError(f"{shown}: an entry is not text", reason="InvalidSecret") from None
    return entries, secret["metadata"].get("resourceVersion", "")


def refused(reason: Reason, message: str) -> Access:
    """Nobody is asked, and everybody learns why."""
    return Access(scope=message, refused=Missing(reason, message))


def answers(registry: Registry, ref: Ref) -> bool:
    """Whether a registry of a policy is meant for a reference."""
    if entries_for(ref.scheme) != registry.scheme:
        return False
    host = ref.canonical.partition("://")[2].partition("/")[0]
    return registry.host is None or registry.host.lower() == host.lower()


def lfs_endpoint(source: str) -> str:
    """Where Git LFS looks for the content of a repository at that address; empty if it is not one of http(s)."""
    parts = urlsplit(source)
    if parts.scheme not in {"http", "https"}:
        return ""
    path = parts.path.rstrip("/")
    path = path if path.endswith(".git") else f"{path}.git"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}/info/lfs"


def _field_that_names_the_receiver(registry: Registry) -> str:
    """What the entry lacks to say who is asked, where references or the repository say it instead; else empty."""
    if registry.scheme == "git-lfs":
        return "" if registry.endpoint else "endpoint"
    anywhere = registry.scheme in {"http", "git"} or (registry.scheme == "oci" and not registry.endpoint)
    return "host" if anywhere and registry.host is None else ""


def _named(policy: ChangePolicy, registry: Registry) -> str:
    return f"the entry for {registry.scheme} of ChangePolicy {policy.namespace}/{policy.name}"
