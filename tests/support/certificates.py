"""Certificates, made anew for each run."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


class Issued:
    """A certificate with its key.

    Attributes:
        file: both as PEM.
        expires: Unix seconds.
    """

    def __init__(self, file: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.file = file
        self.certificate = certificate
        self.key = key
        self.expires = certificate.not_valid_after_utc.timestamp()
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + pem
        )

    def server(self, clients: Path | None = None) -> ssl.SSLContext:
        """A server's context that shows this certificate; ``clients`` is the authority that clients must come from."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients)
        return context


class Authority:
    """A certificate authority in a folder.

    Attributes:
        file: its certificate, to be trusted.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._count = 0
        self._root = _sign(folder / f"{name}.pem", name, [], None, now() + 365 * DAY)
        self.file = self._root.file

    def issue(self, *names: str, expires: dt.datetime | None = None) -> Issued:
        """A certificate for names and IP addresses; valid for 90 days unless told otherwise."""
        self._count += 1
        file = self._folder / f"issued-{self._count}.pem"
        return _sign(file, names[0] if names else "nobody", list(names), self._root, expires or now() + 90 * DAY)


def self_signed(folder: Path, *names: str, expires: dt.datetime | None = None) -> Issued:
    """A certificate that vouches for itself."""
    return _sign(folder / "self-signed.pem", names[0], list(names), None, expires or now() + 90 * DAY)


def _sign(file: Path, name: str, names: list[str], issuer: Issued | None, expires: dt.datetime) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now(), expires) - 30 * DAY)
        .not_valid_after(expires)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
    return Issued(file, builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
