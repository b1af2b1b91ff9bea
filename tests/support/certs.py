"""Certificates made at run time, for tests that speak TLS."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _san(text: str) -> x509.GeneralName:
    """The kind of subject alternative name that a text looks like."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    return x509.RFC822Name(text) if "@" in text else x509.DNSName(text)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    private_key: PrivateKey

    @property
    def cert(self) -> str:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key(self) -> str:
        """The key as PEM."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.crt`` and ``name.key``."""
        files = folder / f"{name}.crt", folder / f"{name}.key"
        for file, text in zip(files, (self.cert, self.key), strict=True):
            file.write_text(text)
        return files


@dataclass
class Authority:
    """A certificate authority; ``parent`` makes it an intermediate one."""

    name: str = "Test authority"
    parent: Authority | None = None
    private_key: PrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @cached_property
    def certificate(self) -> x509.Certificate:
        """Its own certificate."""
        builder = self._builder(self.name, self.private_key, self.parent or self, days=10)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.add_extension(_usage(signs_certificates=True), critical=True).sign(
            (self.parent or self).private_key, hashes.SHA256()
        )

    @property
    def cert(self) -> str:
        """Its own certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(self, *sans: str, name: str = "test", days: float = 5, rsa_key: bool = False) -> Issued:
        """A certificate for servers and clients alike; negative ``days`` make one that has expired."""
        key: PrivateKey = rsa.generate_private_key(65_537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, key, self, days)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(_san, sans)), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        return Issued(builder.sign(self.private_key, hashes.SHA256()), key)

    def client_context(self, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority only, and shows a certificate of its own if one is given."""
        context = ssl.create_default_context(cadata=self.cert)
        if own:
            context.load_cert_chain(*own)
        return context

    @staticmethod
    def _builder(subject: str, key: PrivateKey, issuer: Authority, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=20))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private_key.public_key()), critical=False
            )
        )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
