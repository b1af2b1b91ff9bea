"""Certificates made at run time, for tests that speak TLS."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate, for servers and clients alike, and its key."""

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

    @property
    def expires(self) -> float:
        """When it expires, in Unix seconds."""
        return self.certificate.not_valid_after_utc.timestamp()

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``name.crt`` and ``name.key``."""
        files = folder / f"{name}.crt", folder / f"{name}.key"
        for file, text in zip(files, (self.cert, self.key), strict=True):
            file.write_text(text)
        return files

    def server_context(self, clients: Authority | None = None) -> ssl.SSLContext:
        """A server's context that shows this certificate, and demands one of the clients' authority if it is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _show(self, context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=clients.cert)
        return context


class Authority(Issued):
    """A certificate authority; ``parent`` makes it an intermediate one."""

    def __init__(
        self, name: str = "Test authority", parent: Authority | None = None, private_key: PrivateKey | None = None
    ) -> None:
        issued = _sign(name, parent, days=10, private_key=private_key, authority=True)
        super().__init__(issued.certificate, issued.private_key)

    def issue(self, *sans: str, days: float = 5, private_key: PrivateKey | None = None) -> Issued:
        """A certificate for these names; negative ``days`` make one that has expired."""
        return _sign("test", self, *sans, days=days, private_key=private_key)

    def client_context(self, own: Issued | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority only, and shows a certificate of its own if one is given."""
        context = ssl.create_default_context(cadata=self.cert)
        if own:
            _show(own, context)
        return context


def self_signed(*sans: str) -> Issued:
    """A certificate that vouches for itself."""
    return _sign("test", None, *sans, days=5)


def _show(issued: Issued, context: ssl.SSLContext) -> None:
    """Have a context show a certificate. It can only load it from files."""
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*issued.write(Path(folder), "own"))


def _sign(
    name: str,
    issuer: Issued | None,
    *sans: str,
    days: float,
    private_key: PrivateKey | None = None,
    authority: bool = False,
) -> Issued:
    """A certificate signed by its issuer, or else by itself."""
    key = private_key or ec.generate_private_key(ec.SECP256R1())
    signing = issuer.private_key if issuer else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=20))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=authority), critical=True)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(_san, sans)), critical=False)
    return Issued(builder.sign(signing, hashes.SHA256()), key)


def _san(text: str) -> x509.GeneralName:
    """The kind of subject alternative name that a text looks like."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    return x509.RFC822Name(text) if "@" in text else x509.DNSName(text)


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
