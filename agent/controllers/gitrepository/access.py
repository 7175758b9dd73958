"""From the spec of a GitRepository to its remote: address, proxy and credentials, of a Secret or of an identity."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Self

from agent.adapters.git import (
    GitAuthenticationError,
    GitRemote,
    HTTPAuth,
    auth_from_secret,
    proxy_from_secret,
)
from agent.adapters.identity import GitHubApp, Identities, IdentityError, Login, ServiceAccount
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NotFound
from agent.adapters.kube.resource import SECRETS
from agent.adapters.kube.serviceaccounts import ClusterServiceAccounts
from agent.api.gitrepository import GitRepository
from agent.controllers.workloadidentity import WorkloadAccounts
from agent.errors import AuthenticationError, ConfigurationError, OperationError
from agent.settings import Settings
from agent.telemetry.tokencache import Asker, TokenCacheMetrics

_PROVIDER_REASON = "InvalidProviderConfiguration"
_NO_APP = "secretRef with github app data must be specified when provider is set to github"
_APP_KEYS = ("githubAppID", "githubAppPrivateKey", "githubAppInstallationID", "githubAppInstallationOwner")


class GitAccess:
    """Reads Secrets, and asks for tokens where the spec names a provider."""

    def __init__(
        self,
        client: KubeClient,
        identities: Identities,
        accounts: WorkloadAccounts,
    ) -> None:
        self._client = client
        self._identities = identities
        self._accounts = accounts

    @classmethod
    def of(cls, settings: Settings, client: KubeClient, cache: TokenCacheMetrics) -> Self:
        """As the agent's flags have it."""
        identities = Identities(
            ClusterServiceAccounts(client),
            cache,
            cache=settings.token_cache_max_size,
            longest=settings.token_cache_max_duration,
        )
        return cls(client, identities, WorkloadAccounts.of(settings))

    async def remote(self, repository: GitRepository) -> GitRemote:
        """The remote with all that is needed to get in.

        Raises AuthenticationError (no Secret, or one that cannot work; no token), GitOperationError,
        ConfigurationError and OperationError with Flux's reasons for a provider that does not fit the rest.
        """
        spec = repository.spec
        proxy = None
        if spec.proxy_secret_ref:
            name = spec.proxy_secret_ref.name
            proxy = proxy_from_secret(await self.secret(repository, name, "spec.proxySecretRef"))
        data: Mapping[str, bytes] = {}
        if spec.secret_ref:
            data = await self.secret(repository, spec.secret_ref.name, "spec.secretRef")
        _refuse_ssh(repository)
        auth = auth_from_secret(spec.url, data, _secret_name(repository))
        remote = GitRemote(spec.url, auth, proxy)
        login = await self._login(repository, data, remote)
        if login is None or not isinstance(auth, HTTPAuth):
            return remote
        return dataclasses.replace(remote, auth=_with_login(auth, login))

    def forget(self, namespace: str, name: str) -> None:
        """A GitRepository is gone."""
        self._identities.forget(Asker(GitRepository.KIND, namespace, name))

    async def secret(self, repository: GitRepository, name: str, field: str) -> Mapping[str, bytes]:
        """The content of a Secret beside the GitRepository; `field` is what names it."""
        try:
            secret = await self._client.get(SECRETS, repository.namespace, name)
        except NotFound as error:
            raise AuthenticationError(
                f"failed to get secret '{repository.namespace}/{name}' of {field}: {error.message}"
            ) from None
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    async def _login(self, repository: GitRepository, data: Mapping[str, bytes], remote: GitRemote) -> Login | None:
        provider = repository.spec.provider or "generic"
        asker = Asker(GitRepository.KIND, repository.namespace, repository.name)
        try:
            match provider:
                case "github":
                    return await self._identities.github(_github_app(repository, data), asker, proxy=remote.proxy_url)
                case "azure":
                    return await self._identities.azure_devops(self._account(repository), asker, proxy=remote.proxy_url)
                case "aws":
                    account = self._account(repository)
                    return await self._identities.codecommit(remote.address, account, asker, proxy=remote.proxy_url)
        except IdentityError as error:
            raise GitAuthenticationError(f"failed to configure authentication options: {error}") from None
        if data.get("githubAppID"):
            message = (
                f"secretRef '{_secret_name(repository)}' has github app data but provider is not set to github: set "
                "spec.provider to github"
            )
            raise OperationError(message, reason=_PROVIDER_REASON)
        return None

    def _account(self, repository: GitRepository) -> ServiceAccount | None:
        name = repository.spec.service_account_name
        return self._accounts.account(repository.namespace, name, "spec.serviceAccountName")


def _refuse_ssh(repository: GitRepository) -> None:
    """A provider's login is for https; over ssh it would be left out without a word."""
    provider = repository.spec.provider or "generic"
    if provider != "generic" and repository.spec.url.startswith("ssh://"):
        message = (
            f"spec.provider {provider} logs in over https only: change spec.url, or use provider generic with a key"
        )
        raise ConfigurationError(message, reason=_PROVIDER_REASON)


def _github_app(repository: GitRepository, data: Mapping[str, bytes]) -> GitHubApp:
    if repository.spec.secret_ref is None:
        raise ConfigurationError(_NO_APP, reason=_PROVIDER_REASON)
    if not any(key in data for key in _APP_KEYS):
        raise OperationError(_NO_APP, reason=_PROVIDER_REASON)
    try:
        return GitHubApp.from_secret(data)
    except ValueError as error:
        raise OperationError(f"secret '{_secret_name(repository)}': {error}", reason=_PROVIDER_REASON) from None


def _with_login(auth: HTTPAuth, login: Login) -> HTTPAuth:
    """The login in place of the Secret's own; its certificates stay."""
    return dataclasses.replace(
        auth,
        username=login.username,
        password=login.password,
        bearer_token=login.bearer_token,
        identity=login.identity,
        expires=login.expires,
    )


def _secret_name(repository: GitRepository) -> str:
    reference = repository.spec.secret_ref
    return f"{repository.namespace}/{reference.name if reference else ''}"
