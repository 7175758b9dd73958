"""What of the agent's environment the decryptor may know: how to find its identity in a cloud, and how to get there."""

from __future__ import annotations

from collections.abc import Mapping

_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GCE_", "CLOUDSDK_", "IDENTITY_", "MSI_", "IMDS_", "SOPS_GCP_KMS_", "VAULT_")
_NAMES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"})
_WITHHELD = frozenset({"VAULT_TOKEN", "VAULT_ADDR"})
"""Encrypted texts name the Vault server that is asked: a token of the agent's own would go to any that they name."""


def ambient(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are passed on."""
    return {
        name: value
        for name, value in environment.items()
        if (name.startswith(_PREFIXES) or name.upper() in _NAMES) and name not in _WITHHELD
    }
