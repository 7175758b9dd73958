"""`spec.decryption`: whose keys a build may use, and the session in which it uses them."""

from __future__ import annotations

import base64

from agent.adapters.decryptor import Decryptor, Keys, Session
from agent.adapters.identity import ServiceAccount
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError, NotFound
from agent.adapters.kube.resource import SECRETS
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.decryptionidentity import KeyServiceIdentity
from agent.errors import BuildError, FeatureGateError
from agent.settings import Settings

_AGE = ".agekey"


class Decryption:
    """Reads keys with the agent's own rights, as Flux does; the Secret is in the Kustomization's namespace."""

    def __init__(self, client: KubeClient, decryptor: Decryptor, settings: Settings) -> None:
        self._client = client
        self._decryptor = decryptor
        self._settings = settings

    def require_gate(self, kustomization: Kustomization) -> None:
        """Raises FeatureGateError for an identity of its own without the gate ObjectLevelWorkloadIdentity."""
        decryption, gates = kustomization.spec.decryption, self._settings.gates
        if decryption is not None and decryption.service_account_name and not gates.object_level_workload_identity:
            raise FeatureGateError(
                "to use spec.decryption.serviceAccountName for decryption authentication please enable the "
                "ObjectLevelWorkloadIdentity feature gate in the controller"
            )

    async def keys(self, kustomization: Kustomization) -> Keys | None:
        """The keys as they are now, None if nothing is to be decrypted. Raises BuildError if they cannot be read."""
        decryption = kustomization.spec.decryption
        if decryption is None:
            return None
        if decryption.secret_ref is not None:
            return await self._read(kustomization.namespace, decryption.secret_ref.name)
        if self._settings.sops_age_secret:
            # Identities in clouds would come from here for everybody, so only age counts.
            keys = await self._read(self._settings.runtime_namespace, self._settings.sops_age_secret)
            return Keys({name: value for name, value in keys.entries.items() if name.endswith(_AGE)}, keys.origin)
        return Keys({}, "spec.decryption has no secretRef")

    def session(self, kustomization: Kustomization, keys: Keys | None) -> Session | None:
        """For one build; None without keys, since nothing is to be decrypted then."""
        decryption, settings = kustomization.spec.decryption, self._settings
        if keys is None or decryption is None:
            return None
        name = decryption.service_account_name or settings.default_decryption_service_account
        account = ServiceAccount(kustomization.namespace, name) if name else None
        servers = (settings.runtime_namespace, settings.sops_vault_configmap)
        return self._decryptor.session(keys, KeyServiceIdentity(self._client, account, servers))

    async def _read(self, namespace: str, name: str) -> Keys:
        try:
            secret = await self._client.get(SECRETS, namespace, name)
        except NotFound as error:
            raise BuildError(error.message) from None
        except ApiError as error:
            raise BuildError(f"cannot get sops decryption Secret '{namespace}/{name}': {error.message}") from None
        data = secret.get("data") or {}
        return Keys({entry: base64.b64decode(value) for entry, value in data.items()}, f"Secret '{namespace}/{name}'")
