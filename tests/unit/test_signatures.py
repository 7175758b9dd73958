"""Signatures of commits and tags: good ones of every kind of key, and everything that must not pass."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pysequoia import Cert, SignatureMode, Tsk, sign

from agent.adapters.signatures import SignatureError, pgp_signer, ssh_signer, verify_pgp, verify_ssh
from agent.core.signedobject import MalformedObjectError, signed_commit, signed_tag
from testbed.git.signing import SSHSigner, armored, field, signed_data

PAYLOAD = b"tree 1\nauthor A\n\nmessage\n"
COMMIT = "c" * 40


def integer(number: int) -> bytes:
    return field(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def line(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def blob(public: bytes) -> bytes:
    return base64.b64decode(public.split()[1])


def test_an_ed25519_key_among_others() -> None:
    signer, other = SSHSigner(), SSHSigner()
    file = f"# people\n\nrubbish\nssh-ed25519 AAAA\n{other.public_line} b@x\n{signer.public_line} a@x\n".encode()
    assert verify_ssh(PAYLOAD, signer(PAYLOAD).encode(), [b"", file]) == signer.fingerprint
    with pytest.raises(SignatureError, match="any of the given authorized keys"):
        verify_ssh(PAYLOAD + b"x", signer(PAYLOAD).encode(), [file])
    with pytest.raises(SignatureError, match="any of the given authorized keys"):
        verify_ssh(PAYLOAD, signer(PAYLOAD).encode(), [other.public_line.encode()])
    authority = b"cert-authority " + signer.public_line.encode()
    with pytest.raises(SignatureError, match="unable to parse authorized keys"):
        verify_ssh(PAYLOAD, signer(PAYLOAD).encode(), [authority])


@pytest.mark.parametrize(
    ("curve", "digest"),
    [(ec.SECP256R1(), hashes.SHA256()), (ec.SECP384R1(), hashes.SHA384()), (ec.SECP521R1(), hashes.SHA512())],
)
def test_keys_on_the_curves_of_nist(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm) -> None:
    key = ec.generate_private_key(curve)
    public = line(key)

    def signed(data: bytes) -> bytes:
        pair = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        inner = field(public.split()[0]) + field(integer(pair[0]) + integer(pair[1]))
        return armored(blob(public), inner, digest=b"sha256").encode()

    assert verify_ssh(PAYLOAD, signed(signed_data(PAYLOAD, digest="sha256")), [public]).startswith("SHA256:")
    with pytest.raises(SignatureError):
        verify_ssh(PAYLOAD, signed(b"another"), [public])


def test_rsa_keys_sign_with_sha2_only() -> None:
    key = rsa.generate_private_key(65537, 2048)
    public, data = line(key), signed_data(PAYLOAD)
    for name, digest in ((b"rsa-sha2-512", hashes.SHA512()), (b"rsa-sha2-256", hashes.SHA256())):
        inner = field(name) + field(key.sign(data, padding.PKCS1v15(), digest))
        assert verify_ssh(PAYLOAD, armored(blob(public), inner).encode(), [public]).startswith("SHA256:")
    old = field(b"ssh-rsa") + field(key.sign(data, padding.PKCS1v15(), hashes.SHA1()))
    with pytest.raises(SignatureError):
        verify_ssh(PAYLOAD, armored(blob(public), old).encode(), [public])


@pytest.mark.parametrize(("flags", "good"), [(1, True), (0, False)])
def test_security_keys_have_to_be_touched(flags: int, good: bool) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    kind = b"sk-ssh-ed25519@openssh.com"
    public = field(kind) + field(key.public_key().public_bytes_raw()) + field(b"ssh:")
    state = bytes([flags]) + (7).to_bytes(4, "big")
    data = hashlib.sha256(b"ssh:").digest() + state + hashlib.sha256(signed_data(PAYLOAD)).digest()
    text = armored(public, field(kind) + field(key.sign(data)) + state).encode()
    keys = [kind + b" " + base64.b64encode(public)]
    if good:
        assert verify_ssh(PAYLOAD, text, keys).startswith("SHA256:")
    else:
        with pytest.raises(SignatureError, match="nobody touched"):
            verify_ssh(PAYLOAD, text, keys)


def test_a_signature_for_another_purpose_or_of_another_shape() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    file = field(b"ssh-ed25519") + field(key.sign(signed_data(PAYLOAD, namespace=b"file")))
    with pytest.raises(SignatureError, match="not made for Git"):
        verify_ssh(PAYLOAD, armored(blob(public), file, namespace=b"file").encode(), [public])
    inner = field(b"ssh-ed25519") + field(key.sign(signed_data(PAYLOAD)))
    good = armored(blob(public), inner)
    verify_ssh(PAYLOAD, good.encode(), [public])
    broken = [
        good.replace("BEGIN", "BEGUN"),
        good[:120] + "\n-----END SSH SIGNATURE-----",
        good.replace("U1NI", "U1N*", 1),
        armored(blob(public), inner, digest=b"md5"),
        armored(blob(public), inner + b"x"),
        armored(blob(public), field(b"ssh-rsa") + inner[15:]),
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----",
    ]
    for text in broken:
        with pytest.raises(SignatureError):
            verify_ssh(PAYLOAD, text.encode(), [public])


def test_pgp_signatures() -> None:
    key, other = Tsk.generate("Ada <ada@example.org>"), Tsk.generate("Bob <bob@example.org>")
    ring, others = (str(one.extract_certificate()).encode() for one in (key, other))
    signature = sign(key.signer(), PAYLOAD, mode=SignatureMode.DETACHED)
    expected = Cert.from_bytes(ring).fingerprint[-16:].upper()
    assert verify_pgp(PAYLOAD, signature, [ring]) == expected
    assert verify_pgp(PAYLOAD, signature, [b"rubbish", others + b"\n" + ring]) == expected
    for payload, text, rings in (
        (PAYLOAD + b"x", signature, [ring]),
        (PAYLOAD, signature, [others]),
        (PAYLOAD, b"-----BEGIN PGP SIGNATURE-----\nrubbish", [ring]),
        (PAYLOAD, sign(other.signer(), PAYLOAD, mode=SignatureMode.DETACHED), [ring]),
    ):
        with pytest.raises(SignatureError, match=r"any of the given key rings$"):
            verify_pgp(payload, text, rings)
    certificate = Cert.from_bytes(ring)
    revoked = bytes(certificate) + bytes(certificate.revoke(key.certifier()))
    with pytest.raises(SignatureError):
        verify_pgp(PAYLOAD, signature, [revoked])
    with pytest.raises(SignatureError, match="unable to read armored key ring"):
        verify_pgp(PAYLOAD, signature, [b"rubbish"])


def test_the_signature_of_a_commit_is_taken_out_of_its_headers() -> None:
    raw = (
        b"tree 1\nmergetag object 2\n gpgsig no\n \ngpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n"
        b" -----END PGP SIGNATURE-----\nencoding x\n\ngpgsig in the text\n"
    )
    signed = signed_commit(raw)
    assert signed.payload == b"tree 1\nmergetag object 2\n gpgsig no\n \nencoding x\n\ngpgsig in the text\n"
    assert signed.signature == b"-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n"
    assert signed.kind == "pgp"
    assert signed_commit(PAYLOAD).signature == b""
    assert signed_commit(PAYLOAD).payload == PAYLOAD
    for bad in (b"tree 1\n", b"gpgsig a\ngpgsig b\n\n", b"gpgsig a\ngpgsig-sha256 b\n\n"):
        with pytest.raises(MalformedObjectError):
            signed_commit(bad)


def test_the_signature_of_a_tag_is_the_end_of_it() -> None:
    text = f"object {COMMIT}\ntype commit\ntag v1\n\nabout -----BEGIN SSH SIGNATURE-----\n".encode()
    signature = b"-----BEGIN SSH SIGNATURE-----\nabc\n-----END SSH SIGNATURE-----\n"
    signed = signed_tag(text + signature, COMMIT)
    assert (signed.payload, signed.signature, signed.kind) == (text, signature, "ssh")
    assert signed_tag(text, COMMIT).signature == b""
    with pytest.raises(MalformedObjectError, match="not a tag of commit"):
        signed_tag(text + signature, "d" * 40)


def _ssh_keys() -> list[ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    curves = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
    keys = [ec.generate_private_key(curve) for curve in curves]
    return [ed25519.Ed25519PrivateKey.generate(), *keys, rsa.generate_private_key(65537, 2048)]


@pytest.mark.parametrize("key", _ssh_keys(), ids=lambda key: f"{type(key).__name__}")
def test_what_an_ssh_key_signs_is_accepted(
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
) -> None:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    signature = ssh_signer(text.rstrip())(PAYLOAD).encode()
    assert verify_ssh(PAYLOAD, signature, [public]).startswith("SHA256:")
    with pytest.raises(SignatureError):
        verify_ssh(PAYLOAD + b"x", signature, [public])


def test_what_is_no_plain_private_key_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    for unusable in (public, pem, b""):
        with pytest.raises(SignatureError, match="without a passphrase"):
            ssh_signer(unusable)


def test_what_a_pgp_key_signs_is_accepted() -> None:
    key = Tsk.generate("Robot <robot@example.org>")
    ring = str(key.extract_certificate()).encode()
    signature = pgp_signer(str(key).encode())(PAYLOAD)
    assert signature.startswith("-----BEGIN PGP SIGNATURE-----")
    assert len(verify_pgp(PAYLOAD, signature.encode(), [ring])) == 16
    for bad in (b"rubbish", ring):
        with pytest.raises(SignatureError, match="see that it is a secret key, and its passphrase"):
            pgp_signer(bad)
