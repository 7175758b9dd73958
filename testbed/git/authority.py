"""A certificate authority for tests: issues server and client certificates that live for a day."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from testbed.certificates import certificate_builder, common_name, key_usage

_LIFETIME = dt.timedelta(days=1)
_SKEW = dt.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    private_key: bytes

    def load_into(self, context: ssl.SSLContext) -> None:
        """`SSLContext` only reads files, so the pair passes through a private folder."""
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
            certificate.write_bytes(self.certificate)
            key.write_bytes(self.private_key)
            context.load_cert_chain(certificate, key)


class CertificateAuthority:
    """A self-signed root with its own key."""

    def __init__(self, name: str = "weir test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = common_name(name)
        builder = _certificate(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(key_usage(authority=True, digital_signature=False), critical=True)
        subject_key = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._certificate = builder.add_extension(subject_key, critical=False).sign(self._key, hashes.SHA256())

    @property
    def certificate(self) -> bytes:
        """The root in PEM, what a client is told to trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, client: bool = False) -> IssuedCertificate:
        """Sign a certificate for host names or addresses (server), or for a person's name (client)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = common_name(names[0])
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        certificate = (
            _certificate(self._name, subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return IssuedCertificate(
            certificate=certificate.public_bytes(serialization.Encoding.PEM),
            private_key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def server_context(self, *names: str, client_authority: CertificateAuthority | None = None) -> ssl.SSLContext:
        """A server context for `names`; with `client_authority` it demands a certificate of the client (mutual TLS)."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.issue(*names).load_into(context)
        if client_authority is not None:
            context.load_verify_locations(cadata=client_authority.certificate.decode())
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _certificate(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return certificate_builder(subject, issuer, key, backdated=_SKEW, lifetime=_LIFETIME)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
