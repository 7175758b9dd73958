"""SSH signatures (OpenSSH's PROTOCOL.sshsig) in the namespace `git`, against lines of `authorized_keys`."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from agent.adapters.signatures.errors import SignatureError

_MAGIC = b"SSHSIG"
_NAMESPACE = b"git"
_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_END = b"-----END SSH SIGNATURE-----"
_DIGESTS = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_ED25519 = b"ssh-ed25519"
_RSA = b"ssh-rsa"
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    b"rsa-sha2-256": hashes.SHA256(),
    b"rsa-sha2-512": hashes.SHA512(),
}
_CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"ecdsa-sha2-nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"ecdsa-sha2-nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"ecdsa-sha2-nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_SECURITY_KEY_ED25519 = b"sk-ssh-ed25519@openssh.com"
_SECURITY_KEY_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"
_KINDS = frozenset({_ED25519, _RSA, *_CURVES, _SECURITY_KEY_ED25519, _SECURITY_KEY_ECDSA})
_NOT_VERIFIED = "unable to verify payload with any of the given authorized keys"


class _Reader:
    """The fields of SSH's binary format, one after the other. Raises SignatureError where one is cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise SignatureError("unable to unarmor SSH signature: it is cut off")
        self._at += size
        return piece

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def integer(self) -> int:
        return int.from_bytes(self.string(), "big", signed=True)

    def end(self) -> None:
        if self._at != len(self._data):
            raise SignatureError("unable to unarmor SSH signature: it has more than it should")


def verify_ssh(payload: bytes, signature: bytes, files: Sequence[bytes]) -> str:
    """Check a signature (blocking); `files` hold authorized keys, one on a line.

    Returns the key's fingerprint, `SHA256:<base64>`. Raises SignatureError.
    """
    trusted = {key for file in files for key in _authorized(file)}
    if not trusted:
        raise SignatureError("unable to parse authorized keys: there is none")
    key, algorithm, blob, signed = _opened(signature, payload)
    if key not in trusted:
        raise SignatureError(_NOT_VERIFIED)
    try:
        _check(key, algorithm, blob, signed)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        raise SignatureError(_NOT_VERIFIED) from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _authorized(file: bytes) -> Iterator[bytes]:
    """The keys of a file. Lines that cannot be read, and those of certificate authorities, are left out."""
    for line in file.splitlines():
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        at = next((number for number, word in enumerate(words[:-1]) if word in _KINDS), None)
        if at is None or any(b"cert-authority" in option for option in words[:at]):
            continue
        try:
            key = base64.b64decode(words[at + 1], validate=True)
            if _Reader(key).string() == words[at]:
                yield key
        except (binascii.Error, SignatureError):
            continue


def _opened(armored: bytes, payload: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """The key, the algorithm, the signature itself and the bytes that it has to be of."""
    text = armored.strip()
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise SignatureError("unable to unarmor SSH signature: no armor")
    try:
        raw = base64.b64decode(b"".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
    except binascii.Error:
        raise SignatureError("unable to unarmor SSH signature: no base64") from None
    reader = _Reader(raw)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != 1:
        raise SignatureError("unable to unarmor SSH signature: not of version 1")
    key, namespace, reserved, digest = (reader.string() for _ in range(4))
    inner = _Reader(reader.string())
    reader.end()
    if namespace != _NAMESPACE:
        raise SignatureError(f"{_NOT_VERIFIED}: it was not made for Git")
    if digest not in _DIGESTS:
        raise SignatureError(f"{_NOT_VERIFIED}: its hash is not supported")
    hashed = _DIGESTS[digest](payload).digest()
    signed = _MAGIC + b"".join(len(part).to_bytes(4, "big") + part for part in (namespace, reserved, digest, hashed))
    algorithm, blob = inner.string(), inner.string()
    if algorithm in {_SECURITY_KEY_ED25519, _SECURITY_KEY_ECDSA}:
        # A security key signs the message's hash together with its own state: flags and a counter.
        state = inner.take(5)
        signed = hashlib.sha256(_application(key)).digest() + state + hashlib.sha256(signed).digest()
        if not state[0] & 1:
            raise SignatureError(f"{_NOT_VERIFIED}: nobody touched the security key")
    inner.end()
    return key, algorithm, blob, signed


def _application(key: bytes) -> bytes:
    reader = _Reader(key)
    for _ in range(3 if reader.string() == _SECURITY_KEY_ECDSA else 2):
        last = reader.string()
    return last


def _check(key: bytes, algorithm: bytes, blob: bytes, signed: bytes) -> None:
    reader = _Reader(key)
    kind = reader.string()
    if kind == _RSA and algorithm in _RSA_HASHES:
        exponent, modulus = reader.integer(), reader.integer()
        public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        public.verify(blob, signed, padding.PKCS1v15(), _RSA_HASHES[algorithm])
    elif kind != algorithm or kind == _RSA:
        raise SignatureError(f"{_NOT_VERIFIED}: its algorithm is not that of the key")
    elif kind in {_ED25519, _SECURITY_KEY_ED25519}:
        ed25519.Ed25519PublicKey.from_public_bytes(reader.string()).verify(blob, signed)
    else:
        curve, digest = (ec.SECP256R1(), hashes.SHA256()) if kind == _SECURITY_KEY_ECDSA else _CURVES[kind]
        reader.string()  # the curve's name, which the kind has told already
        pair = _Reader(blob)
        numbers = encode_dss_signature(pair.integer(), pair.integer())
        pair.end()
        point = ec.EllipticCurvePublicKey.from_encoded_point(curve, reader.string())
        point.verify(numbers, signed, ec.ECDSA(digest))
