"""Signing what is committed, with a key from a Secret: OpenPGP, or SSH as OpenSSH's PROTOCOL.sshsig has it."""

from __future__ import annotations

import base64
import hashlib
import textwrap
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from pysequoia import SignatureMode, Tsk, sign

from agent.adapters.signatures.errors import SignatureError

Signer = Callable[[bytes], str]
"""Takes the bytes to sign, gives the armored signature."""

_MAGIC = b"SSHSIG"
_NAMESPACE = b"git"
_DIGEST = b"sha512"
_CURVE_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def pgp_signer(key: bytes, passphrase: str = "") -> Signer:
    """A signer with an OpenPGP secret key, armored or not. Raises SignatureError; its texts hold nothing of the key."""
    try:
        signer = Tsk.from_bytes(key).signer(passphrase or None)
    except (RuntimeError, ValueError, TypeError):
        raise SignatureError(
            "the OpenPGP key cannot be used: see that it is a secret key, and its passphrase"
        ) from None

    def signed(payload: bytes) -> str:
        return bytes(sign(signer, payload, mode=SignatureMode.DETACHED)).decode()

    return signed


def ssh_signer(key: bytes) -> Signer:
    """A signer with an SSH private key (Ed25519, ECDSA or RSA) without a passphrase. Raises SignatureError."""
    try:
        private = load_ssh_private_key(key.rstrip() + b"\n", None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignatureError(
            "the SSH key cannot be used: it has to be a private key in OpenSSH's format, without a passphrase"
        ) from None
    if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise SignatureError("the SSH key cannot be used: its kind does not sign commits")
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    public = base64.b64decode(line.split()[1])

    def signed(payload: bytes) -> str:
        digest = hashlib.sha512(payload).digest()
        message = _MAGIC + b"".join(_field(part) for part in (_NAMESPACE, b"", _DIGEST, digest))
        signature = _ssh_signature(private, message)
        raw = _MAGIC + (1).to_bytes(4, "big")
        raw += b"".join(_field(part) for part in (public, _NAMESPACE, b"", _DIGEST, signature))
        lines = "\n".join(textwrap.wrap(base64.b64encode(raw).decode(), 70))
        return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"

    return signed


def _ssh_signature(
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, message: bytes
) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _field(b"ssh-ed25519") + _field(key.sign(message))
    if isinstance(key, rsa.RSAPrivateKey):
        return _field(b"rsa-sha2-512") + _field(key.sign(message, padding.PKCS1v15(), hashes.SHA512()))
    pair = decode_dss_signature(key.sign(message, ec.ECDSA(_CURVE_HASHES[key.curve.name])))
    size = key.curve.key_size
    name = f"ecdsa-sha2-nistp{size}".encode()
    return _field(name) + _field(b"".join(_field(_integer(number)) for number in pair))


def _field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _integer(number: int) -> bytes:
    """A positive number in SSH's form: a leading zero where its first bit is set."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")
