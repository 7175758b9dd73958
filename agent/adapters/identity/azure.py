"""Logging in to Azure DevOps with an identity of Microsoft Entra: of the agent's Pod, or of a ServiceAccount.

The environment is that of Azure's own libraries: a client secret, the files of the workload identity webhook, or the
managed identity of the machine, in this order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.files import content
from agent.adapters.identity.login import Login, ServiceAccount, ServiceAccounts
from agent.adapters.identity.web import Answer, request

AUDIENCE = "api://AzureADTokenExchange"
DEVOPS = "499b84ac-1321-427f-aa17-267ca6975798"  # the application id of Azure DevOps, the same everywhere
_PUBLIC_AUTHORITY = "https://login.microsoftonline.com"
_METADATA = "http://169.254.169.254"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TENANT, _CLIENT = "azure.workload.identity/tenant-id", "azure.workload.identity/client-id"


class Azure:
    """Tokens for Azure DevOps."""

    def __init__(self, accounts: ServiceAccounts, environment: Mapping[str, str]) -> None:
        self._accounts = accounts
        self._environment = environment

    async def login(self, account: ServiceAccount | None, *, proxy: str, resource: str = DEVOPS) -> Login:
        """A token for the agent's own identity, or for a ServiceAccount's, that `resource` takes.

        Raises IdentityError.
        """
        if account is None:
            return await self._own(proxy, resource)
        annotations = await self._accounts.annotations(account)
        for key, name in ((_TENANT, "tenant"), (_CLIENT, "client")):
            if not annotations.get(key):
                raise IdentityError(
                    f"azure {name} ID is not set in the service account annotation {key} of '{account}'"
                )
        tenant, client = annotations[_TENANT], annotations[_CLIENT]
        form = {
            "client_id": client,
            "client_assertion_type": _ASSERTION,
            "client_assertion": await self._accounts.token(account, AUDIENCE),
        }
        return await self._exchange(f"azure:{tenant}/{client}:{account}", tenant, form, proxy, resource)

    async def _own(self, proxy: str, resource: str) -> Login:
        known = self._environment
        client, tenant = known.get("AZURE_CLIENT_ID", ""), known.get("AZURE_TENANT_ID", "")
        secret, file = known.get("AZURE_CLIENT_SECRET", ""), known.get("AZURE_FEDERATED_TOKEN_FILE", "")
        identity = f"azure:{tenant}/{client}"
        if client and tenant and secret:
            form = {"client_id": client, "client_secret": secret}
            return await self._exchange(identity, tenant, form, proxy, resource)
        if client and tenant and file:
            assertion = content("AZURE_FEDERATED_TOKEN_FILE", file)
            form = {"client_id": client, "client_assertion_type": _ASSERTION, "client_assertion": assertion}
            return await self._exchange(identity, tenant, form, proxy, resource)
        return await self._managed(client, resource)

    async def _exchange(self, identity: str, tenant: str, form: Mapping[str, str], proxy: str, resource: str) -> Login:
        authority = self._environment.get("AZURE_AUTHORITY_HOST") or _PUBLIC_AUTHORITY
        url = f"{authority.rstrip('/')}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        whole = {"grant_type": "client_credentials", "scope": f"{resource}/.default", **form}
        answer = await request("POST", url, form=whole, proxy=proxy)
        return _login(identity, answer, "Microsoft Entra")

    async def _managed(self, client: str, resource: str) -> Login:
        """The identity that the machine has, asked for at its own metadata service."""
        host = self._environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _METADATA
        query = {"api-version": "2018-02-01", "resource": resource} | ({"client_id": client} if client else {})
        url = f"{host.rstrip('/')}/metadata/identity/oauth2/token?{urlencode(query)}"
        try:
            answer = await request("GET", url, headers={"Metadata": "true"})
        except IdentityError as error:
            raise IdentityError(
                f"this agent has no identity: neither workload identity (AZURE_CLIENT_ID, AZURE_TENANT_ID and "
                f"AZURE_FEDERATED_TOKEN_FILE are not all set) nor a managed one ({error})"
            ) from None
        return _login(f"azure:managed:{client}", answer, "the metadata service")


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int | str


class _Refusal(msgspec.Struct):
    error: str = ""
    error_description: str = ""


def _login(identity: str, answer: Answer, who: str) -> Login:
    if answer.status != 200:
        try:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
            said = f"{refusal.error} {' '.join(refusal.error_description.splitlines()[:1])}".strip()
        except msgspec.MsgspecError:
            said = answer.complaint
        raise IdentityError(f"{who} refused a token: {answer.status} {said}")
    token = answer.decoded(_Token, who)
    try:
        seconds = float(token.expires_in)
    except ValueError:
        raise IdentityError(f"the answer of {who} cannot be read: expires_in is no number") from None
    return Login(identity, time.time() + seconds, bearer_token=token.access_token)
