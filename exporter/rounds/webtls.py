"""TLS as the web configuration of Prometheus' exporters describes it, in terms of Python's ssl module.

Go's names become OpenSSL's. What the ssl module cannot do is refused with the reason, never silently left out.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator, Mapping  # pydantic reads annotations
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import Certificate, InvalidVersion, load_pem_x509_certificates
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from rounds.config import did_you_mean
from rounds.fields import Model, ReadableFile, Secret, exclusive, problem

log = structlog.get_logger()

_OLD_TLS = "is not offered by OpenSSL at its usual security level; the oldest is TLS12"
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

_UNVERIFIED = (
    "cannot be done: Python's ssl module never accepts a certificate that it has not verified; "
    "use RequireAndVerifyClientCert or VerifyClientCertIfGiven"
)
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}

# TLS 1.3 has no choice of suites, neither in Go nor in Python's ssl: named ones are accepted and change nothing.
_TLS13_SUITE = ""
_CIPHERS = {
    "TLS_AES_128_GCM_SHA256": _TLS13_SUITE,
    "TLS_AES_256_GCM_SHA384": _TLS13_SUITE,
    "TLS_CHACHA20_POLY1305_SHA256": _TLS13_SUITE,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}

_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

_FEW = 5


def _named(what: str, known: Mapping[str, Any], refused: Mapping[str, str] | None = None) -> BeforeValidator:
    """A validator from Go's name to Python's value; ``refused`` holds names with the reason why they cannot be had."""

    def find(name: object) -> Any:
        if isinstance(name, str) and name in known:
            return known[name]
        if isinstance(name, str) and refused and name in refused:
            raise problem(refused[name])
        few = f"; one of {', '.join(known)}" if len(known) <= _FEW else ""
        raise problem(f"unknown {what}{did_you_mean(str(name), known) or few}")

    return BeforeValidator(find)


class TlsServer(Model):
    """The section ``tls_server_config``. Once validated it has made a context that works."""

    cert: Secret | None = None
    """The server's certificate and the chain above it, as PEM; or give cert_file."""

    key: Secret | None = None
    """The certificate's private key, as PEM without a passphrase; or give key_file."""

    client_ca: Secret | None = None
    """The authorities that clients' certificates must come from, as PEM; or give client_ca_file."""

    cert_file: ReadableFile | None = None
    key_file: ReadableFile | None = None
    client_ca_file: ReadableFile | None = None

    client_auth_type: Annotated[
        ssl.VerifyMode,
        _named(
            "client_auth_type",
            _CLIENT_AUTH,
            dict.fromkeys(("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"), _UNVERIFIED),
        ),
    ] = ssl.CERT_NONE
    """Whether clients must show a certificate."""

    client_allowed_sans: list[str] = Field(default_factory=list)
    """Names of which a client's certificate must hold one: DNS name, IP address, e-mail address or URI."""

    min_version: Annotated[
        ssl.TLSVersion, _named("TLS version", _VERSIONS, dict.fromkeys(("TLS10", "TLS11"), _OLD_TLS))
    ] = ssl.TLSVersion.TLSv1_2
    max_version: Annotated[
        ssl.TLSVersion, _named("TLS version", _VERSIONS, dict.fromkeys(("TLS10", "TLS11"), _OLD_TLS))
    ] = ssl.TLSVersion.TLSv1_3

    cipher_suites: list[Annotated[str, _named("cipher suite", _CIPHERS)]] = Field(default_factory=list)
    """Go's names of the suites for TLS 1.2, the preferred one first."""

    prefer_server_cipher_suites: bool = True
    """Whether the order of cipher_suites counts, rather than the client's."""

    curve_preferences: list[Annotated[str, _named("curve", _CURVES)]] = Field(default_factory=list)
    """At most one curve, since Python's ssl module knows no list."""

    _context: ssl.SSLContext = PrivateAttr()

    @property
    def context(self) -> ssl.SSLContext:
        """What serves connections by this section."""
        return self._context

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, tree: Any) -> Any:
        # As in Go, where an empty text is the same as none. An empty list stays: it must not come to mean "all".
        if not isinstance(tree, dict):
            return tree
        texts = {name for name, field in cls.model_fields.items() if field.default_factory is None}
        return {key: value for key, value in tree.items() if value not in (None, "") or key not in texts}

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for name in ("cert", "key", "client_ca"):
            exclusive(self, name, f"{name}_file")
        if self.min_version > self.max_version:
            raise problem("is later than max_version", "min_version")
        if len(self.curve_preferences) > 1:
            raise problem(
                "Python's ssl module takes one curve; give one, or none for OpenSSL's choice", "curve_preferences"
            )
        self._context = self._build()
        return self

    def _build(self) -> ssl.SSLContext:
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        context.minimum_version, context.maximum_version = self.min_version, self.max_version
        if not self.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if self.curve_preferences:
            context.set_ecdh_curve(self.curve_preferences[0])
        self._choose_ciphers(context)
        self._show_certificate(context)
        self._ask_clients(context)
        return context

    def _choose_ciphers(self, context: ssl.SSLContext) -> None:
        suites = [suite for suite in self.cipher_suites if suite != _TLS13_SUITE]
        if suites:
            context.set_ciphers(":".join(suites))
        elif self.cipher_suites:
            # Only suites of TLS 1.3 are named, so that nothing is left for TLS 1.2.
            if self.max_version < ssl.TLSVersion.TLSv1_3:
                raise problem("names no suite of TLS 1.2, which is the latest allowed", "cipher_suites")
            context.minimum_version = ssl.TLSVersion.TLSv1_3

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        cert_at, cert = self._given("cert")
        key_at, key = self._given("key")
        for at, content in ((cert_at, cert), (key_at, key)):
            if content is None:
                raise problem("is required", at)
        certified = _certificates(cert or b"", cert_at)[0].public_key()
        try:
            own = load_pem_private_key(key or b"", None).public_key()
        except TypeError:
            raise problem("is protected by a passphrase, which nobody could enter; give a plain key", key_at) from None
        except (ValueError, UnsupportedAlgorithm):
            raise problem("holds no usable PEM private key", key_at) from None
        if own != certified:
            raise problem("is not the key of the certificate", key_at)
        try:
            with _as_file(cert or b"") as cert_path, _as_file(key or b"") as key_path:
                context.load_cert_chain(cert_path, key_path)
        except ssl.SSLError as error:
            raise problem(f"OpenSSL refuses it: {error.reason}", cert_at) from None

    def _ask_clients(self, context: _Context) -> None:
        ca_at, ca = self._given("client_ca")
        if self.client_auth_type is ssl.CERT_NONE and ca is not None:
            raise problem("has no effect without client_auth_type: RequireAndVerifyClientCert", ca_at)
        if self.client_auth_type is not ssl.CERT_NONE:
            if ca is None:
                raise problem("is required by client_auth_type", ca_at)
            authorities = b"".join(each.public_bytes(Encoding.DER) for each in _certificates(ca, ca_at))
            context.load_verify_locations(cadata=authorities)
            # As in Go, whatever the operator names is trusted, also an intermediate authority without its root.
            context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
            context.verify_mode = self.client_auth_type
        if "client_allowed_sans" in self.model_fields_set:
            if self.client_auth_type is not ssl.CERT_REQUIRED:
                raise problem("needs client_auth_type: RequireAndVerifyClientCert", "client_allowed_sans")
            if not self.client_allowed_sans:
                raise problem("should name at least one; an empty list lets nobody in", "client_allowed_sans")
            context.allowed_sans = frozenset(map(_canonical, self.client_allowed_sans))

    def _given(self, name: str) -> tuple[str, bytes | None]:
        """The key under which something is given, inline or as a file, and its content."""
        inline: Secret | None = getattr(self, name)
        if inline is not None:
            return name, inline.reveal().encode()
        file: Path | None = getattr(self, f"{name}_file")
        try:
            return f"{name}_file", file.read_bytes() if file else None
        except OSError as error:
            raise problem(f"{file} cannot be read: {error.strerror}", f"{name}_file") from None


def following(newest: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context whose every new connection is served by the newest one, so that a server need not be restarted."""
    context = _Following(ssl.PROTOCOL_TLS_SERVER)
    context.newest = newest
    return context


class _Following(ssl.SSLContext):
    # Not the SNI callback: that could change the certificate, but no version, cipher or client policy.
    newest: Callable[[], ssl.SSLContext]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.newest().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


class _Connection(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        allowed = self.context.allowed_sans if isinstance(self.context, _Context) else None
        if allowed is not None:
            found = _names(self.getpeercert() or {})
            if found.isdisjoint(allowed):
                log.warning("client refused: no name of its certificate is in client_allowed_sans", names=sorted(found))
                raise ssl.SSLCertVerificationError("the client's certificate holds no allowed name")


class _Context(ssl.SSLContext):
    sslobject_class = _Connection
    allowed_sans: frozenset[str] | None = None


def _names(certificate: Mapping[str, Any]) -> set[str]:
    kinds = ("DNS", "email", "IP Address", "URI")
    return {_canonical(name) for kind, name in certificate.get("subjectAltName", ()) if kind in kinds}


def _canonical(name: str) -> str:
    """The one spelling of an IP address; every other name as it is."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _certificates(content: bytes, at: str) -> list[Certificate]:
    try:
        found = load_pem_x509_certificates(content)
        found[0].public_key()
    except (ValueError, InvalidVersion, UnsupportedAlgorithm):
        raise problem("holds no usable PEM certificate", at) from None
    return found


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """A path under which ``content`` can be read: OpenSSL takes files only, and a key should not be put on a disk."""
    with os.fdopen(os.memfd_create("rounds"), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")
