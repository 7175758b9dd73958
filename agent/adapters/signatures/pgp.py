"""OpenPGP signatures, checked under Sequoia's standard policy: no SHA-1, no key that was revoked or had expired."""

from __future__ import annotations

from collections.abc import Sequence

from pysequoia import Cert, Sig, verify

from agent.adapters.signatures.errors import SignatureError

_KEY_ID = 16  # digits at the end of a fingerprint


def verify_pgp(payload: bytes, signature: bytes, rings: Sequence[bytes]) -> str:
    """Check a detached signature (blocking); `rings` are files of public keys, armored or not.

    Returns the id of the key's certificate, 16 upper-case digits. Raises SignatureError.
    """
    certificates: list[Cert] = []
    unreadable = False
    for ring in rings:
        try:
            found = Cert.split_bytes(ring)
        except (RuntimeError, ValueError):
            found = []
        unreadable = unreadable or not found
        certificates += found
    if unreadable and not certificates:
        raise SignatureError("unable to read armored key ring")
    try:
        result = verify(bytes=payload, store=lambda _ids: certificates, signature=Sig.from_bytes(signature))
    except (RuntimeError, ValueError):
        # The library's message goes on with its own call stack.
        raise SignatureError("unable to verify payload with any of the given key rings") from None
    known = {certificate.fingerprint for certificate in certificates}
    signer: str | None = next((one.certificate for one in result.valid_sigs if one.certificate in known), None)
    if signer is None:
        raise SignatureError("unable to verify payload with any of the given key rings")
    return signer[-_KEY_ID:].upper()
