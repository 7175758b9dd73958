"""Who a build is to key services, as the API server says it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.adapters.identity import ServiceAccount
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import load
from agent.adapters.kube.errors import Forbidden
from agent.adapters.kube.resource import CONFIG_MAPS
from agent.controllers.kustomization.decryptionidentity import KeyServiceIdentity
from agent.errors import WeirError
from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.processes import until

ADDRESS = "https://vault.example.com:8200"


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


async def servers(admin: Admin, namespace: str, **data: str) -> tuple[str, str]:
    """A ConfigMap with these entries (`__` for the dot)."""
    metadata = {"name": "vaults", "namespace": namespace}
    entries = {name.replace("__", "."): text for name, text in data.items()}
    await admin.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": entries})
    return namespace, "vaults"


@pytest.fixture
async def weir(control_plane: ControlPlane, admin: Admin, namespace: str) -> AsyncIterator[KubeClient]:
    """A client that is the ServiceAccount `weir`, which may read ConfigMaps and issue tokens here."""
    account = {"name": "weir", "namespace": namespace}
    await admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["configmaps", "serviceaccounts"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
    ]
    await admin.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": account, "rules": rules})
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": account,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "weir"},
        "subjects": [{"kind": "ServiceAccount", **account}],
    }
    await admin.apply(binding)
    kubeconfig = control_plane.kubeconfig_for(await admin.token(namespace, "weir"))
    async with KubeClient(await load(str(kubeconfig))) as client:
        # The authorizer learns of a binding a moment later.
        await until(lambda: may_read(client, namespace), timeout=60, what="the role is in force")
        yield client


async def may_read(client: KubeClient, namespace: str) -> bool:
    try:
        await client.find(CONFIG_MAPS, namespace, "any")
    except Forbidden:
        return False
    return True


async def test_the_agent_logs_in_to_a_trusted_vault_as_the_service_account_that_it_is(
    weir: KubeClient, admin: Admin, namespace: str
) -> None:
    config = f"instances: [{{address: '{ADDRESS}', loginPath: team/auth/kubernetes/login}}]"
    where = await servers(admin, namespace, config__yaml=config)
    identity = KeyServiceIdentity(weir, None, where)
    assert identity.account == ""
    login = await asyncio.to_thread(identity.vault, ADDRESS)
    assert (login.path, login.role) == ("team/auth/kubernetes/login", f"{namespace}_weir")
    said = claims(login.token)
    assert (said["sub"], said["aud"]) == (f"system:serviceaccount:{namespace}:weir", [ADDRESS])
    assert login.token not in repr(login)


async def test_a_service_account_of_the_object_tells_annotations_and_tokens(
    weir: KubeClient, admin: Admin, namespace: str
) -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}
    metadata = {"name": "opener", "namespace": namespace, "annotations": role}
    await admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    identity = KeyServiceIdentity(weir, ServiceAccount(namespace, "opener"), ("", ""))
    assert identity.account == f"{namespace}/opener"
    assert (await asyncio.to_thread(identity.annotations)).items() >= role.items()
    said = claims(await asyncio.to_thread(identity.token, "sts.amazonaws.com"))
    assert (said["sub"], said["aud"]) == (f"system:serviceaccount:{namespace}:opener", ["sts.amazonaws.com"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"other": "x"}, "is missing the 'config.yaml' key"),
        ({"config__yaml": "instances: [{loginPath: x}]"}, "failed to parse 'config.yaml' in Vault ConfigMap"),
        ({"config__yaml": "{"}, "failed to parse 'config.yaml' in Vault ConfigMap"),
        ({"config__yaml": ""}, f"no Vault login path configured for address '{ADDRESS}'"),
    ],
)
async def test_a_server_that_nobody_vouches_for_gets_no_token(
    weir: KubeClient, admin: Admin, namespace: str, data: dict[str, str], message: str
) -> None:
    identity = KeyServiceIdentity(weir, None, await servers(admin, namespace, **data))
    with pytest.raises(WeirError, match=message):
        await asyncio.to_thread(identity.vault, ADDRESS)


async def test_who_is_no_service_account_has_no_role(client: KubeClient, admin: Admin, namespace: str) -> None:
    config = f"instances: [{{address: '{ADDRESS}', loginPath: auth/x/login}}]"
    identity = KeyServiceIdentity(client, None, await servers(admin, namespace, config__yaml=config))
    with pytest.raises(WeirError, match=r"not a ServiceAccount: set spec\.decryption\.serviceAccountName"):
        await asyncio.to_thread(identity.vault, ADDRESS)


async def test_without_a_list_no_server_is_trusted(weir: KubeClient) -> None:
    identity = KeyServiceIdentity(weir, None, ("weir", ""))
    with pytest.raises(WeirError, match=r"no entry sops\.vault-token, and --sops-vault-configmap is not set"):
        await asyncio.to_thread(identity.vault, ADDRESS)
