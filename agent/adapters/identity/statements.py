"""Signed statements: JSON Web Tokens (RS256) by which a private key speaks for its owner."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.adapters.identity.errors import IdentityError


def signed_statement(claims: Mapping[str, object], private_key: bytes, key: str) -> str:
    """The token with these claims. `key` names where the private key comes from. Raises IdentityError."""
    try:
        loaded = load_pem_private_key(private_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise IdentityError(f"could not parse private key: '{key}' is no unencrypted PEM key") from None
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise IdentityError(f"could not parse private key: '{key}' is no RSA key")
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    signed = ".".join(_url_safe(msgspec.json.encode(part)) for part in parts)
    signature = loaded.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_url_safe(signature)}"


def _url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
