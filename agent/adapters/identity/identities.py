"""Logins for Git servers from identities, each used until most of its life is over."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping

from agent.adapters.identity.aws import AWS, Keys, codecommit_login, region_of
from agent.adapters.identity.azure import Azure
from agent.adapters.identity.cache import TokenCache
from agent.adapters.identity.githubapp import GitHubApp
from agent.adapters.identity.login import Login, ServiceAccount, ServiceAccounts
from agent.telemetry.tokencache import Asker, TokenCacheMetrics


class Identities:
    """Knows GitHub Apps, Azure DevOps and AWS CodeCommit. At most `cache` tokens are used again, for `longest` seconds.

    Every method takes the object that the login is for and the `proxy` (a URL, or "" for that of the environment), and
    raises IdentityError.
    """

    def __init__(
        self,
        accounts: ServiceAccounts,
        metrics: TokenCacheMetrics,
        *,
        cache: int = 100,
        longest: float = 3600.0,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._azure = Azure(accounts, environment)
        self._aws = AWS(accounts, environment)
        self._metrics = metrics
        self._logins: TokenCache[Login] = TokenCache(cache, longest, metrics)
        self._keys: TokenCache[Keys] = TokenCache(cache, longest, metrics)

    async def github(self, app: GitHubApp, asker: Asker, *, proxy: str) -> Login:
        """As an installation of a GitHub App."""
        return await self._logins.get(f"{app.identity}|{proxy}", asker, lambda: app.login(proxy=proxy))

    async def azure_devops(self, account: ServiceAccount | None, asker: Asker, *, proxy: str) -> Login:
        """With the agent's own identity in Microsoft Entra, or a ServiceAccount's."""
        key = f"azure:{account or ''}|{proxy}"
        return await self._logins.get(key, asker, lambda: self._azure.login(account, proxy=proxy))

    async def codecommit(self, url: str, account: ServiceAccount | None, asker: Asker, *, proxy: str) -> Login:
        """With the agent's own identity in AWS, or a ServiceAccount's role; for the repository at `url` alone."""
        region = region_of(url)
        identity = f"aws:{account or ''}|{region}"
        keys = await self._keys.get(f"{identity}|{proxy}", asker, lambda: self._aws.keys(account, region, proxy=proxy))

        async def signed() -> Login:
            return codecommit_login(url, keys, identity, dt.datetime.now(dt.UTC))

        return await self._logins.get(f"{identity}|{keys.key_id}|{url}", asker, signed)

    def forget(self, asker: Asker) -> None:
        """The object is gone, and so are its metrics."""
        self._metrics.forget(asker)
