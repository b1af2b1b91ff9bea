"""TLS through a real server and real clients."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from rounds.webtls import _CIPHERS
from support.certificates import Authority
from support.web import Serve

TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"
MUTUAL = TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"


def get(port: int, context: ssl.SSLContext) -> str:
    return httpx.get(f"https://127.0.0.1:{port}/metrics", verify=context, timeout=10).text


@contextlib.contextmanager
def handshake(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        yield encrypted


def serial_shown(port: int, context: ssl.SSLContext) -> int:
    with handshake(port, context) as connection:
        certificate = connection.getpeercert()
    assert certificate
    return int(str(certificate["serialNumber"]), 16)


def only_tls12(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.fixture
def client(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


@pytest.mark.usefixtures("certs")
class TestServer:
    def test_serves_those_who_trust_its_authority_only(self, serve: Serve, client: ssl.SSLContext) -> None:
        with serve(TLS + "}") as port:
            assert get(port, client) == "inside"
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                get(port, Authority("Another").client_context())
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/metrics")

    def test_takes_certificate_and_key_inline(self, serve: Serve, certs: Path, client: ssl.SSLContext) -> None:
        indented = {name: (certs / f"server.{name}").read_text().replace("\n", "\n    ") for name in ("crt", "key")}
        with serve(f"tls_server_config:\n  cert: |\n    {indented['crt']}\n  key: |\n    {indented['key']}\n") as port:
            assert get(port, client) == "inside"

    def test_shows_the_chain_above_its_certificate(
        self, serve: Serve, certs: Path, authority: Authority, client: ssl.SSLContext
    ) -> None:
        between = Authority("Between", parent=authority)
        issued = between.issue("127.0.0.1")
        issued.write(certs, "server")
        (certs / "server.crt").write_text(issued.cert + between.cert)
        with serve(TLS + "}") as port:
            assert get(port, client) == "inside"

    def test_speaks_tls_1_2_and_1_3_by_default(self, serve: Serve, authority: Authority) -> None:
        with serve(TLS + "}") as port:
            with handshake(port, only_tls12(authority.client_context())) as connection:
                assert connection.version() == "TLSv1.2"
            with handshake(port, authority.client_context()) as connection:
                assert connection.version() == "TLSv1.3"

    @pytest.mark.parametrize("setting", ["min_version: TLS13", "cipher_suites: [TLS_AES_128_GCM_SHA256]"])
    def test_refuses_versions_that_are_too_old(self, serve: Serve, authority: Authority, setting: str) -> None:
        with serve(f"{TLS}, {setting}}}") as port:
            assert get(port, authority.client_context()) == "inside"
            with pytest.raises(httpx.ConnectError):
                get(port, only_tls12(authority.client_context()))

    def test_keeps_to_the_latest_version_allowed(self, serve: Serve, client: ssl.SSLContext) -> None:
        with serve(f"{TLS}, max_version: TLS12}}") as port, handshake(port, client) as connection:
            assert connection.version() == "TLSv1.2"

    @pytest.mark.parametrize("suite", [go for go, openssl in _CIPHERS.items() if openssl])
    def test_speaks_the_suite_that_is_named(self, serve: Serve, certs: Path, authority: Authority, suite: str) -> None:
        key = rsa.generate_private_key(65_537, 2048) if "_RSA_" in suite else None
        authority.issue("localhost", private_key=key).write(certs, "server")
        lenient = only_tls12(authority.client_context())
        lenient.set_ciphers("ALL")
        with serve(f"{TLS}, cipher_suites: [{suite}]}}") as port, handshake(port, lenient) as connection:
            assert (connection.cipher() or ("",))[0] == _CIPHERS[suite]

    def test_refuses_every_other_suite(self, serve: Serve, authority: Authority) -> None:
        other = only_tls12(authority.client_context())
        other.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        with (
            serve(f"{TLS}, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}}") as port,
            pytest.raises(httpx.ConnectError),
        ):
            get(port, other)

    @pytest.mark.parametrize(("prefer_server", "chosen"), [("true", "AES128"), ("false", "AES256")])
    def test_prefers_the_order_of_one_side(
        self, serve: Serve, authority: Authority, prefer_server: str, chosen: str
    ) -> None:
        suites = "[TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"
        client = only_tls12(authority.client_context())
        client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256")
        setting = f"{TLS}, cipher_suites: {suites}, prefer_server_cipher_suites: {prefer_server}}}"
        with serve(setting) as port, handshake(port, client) as connection:
            assert chosen in (connection.cipher() or ("",))[0]

    @pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
    def test_speaks_the_curve_that_is_named(self, serve: Serve, authority: Authority, curve: str) -> None:
        names = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
        with serve(f"{TLS}, curve_preferences: [{curve}]}}") as port:
            for name, openssl in names.items():
                client = authority.client_context()
                client.set_ecdh_curve(openssl)
                if name == curve:
                    assert get(port, client) == "inside"
                else:
                    with pytest.raises(httpx.ConnectError):
                        get(port, client)


@pytest.mark.usefixtures("certs")
class TestClients:
    def test_must_show_a_certificate_of_the_authority(self, serve: Serve, authority: Authority) -> None:
        own = authority.issue("prometheus")
        expired = authority.issue("prometheus", days=-1)
        strange = Authority("Another").issue("prometheus")
        with serve(MUTUAL + "}") as port:
            assert get(port, authority.client_context(own)) == "inside"
            for refused in (None, expired, strange):
                with pytest.raises(httpx.TransportError):
                    get(port, authority.client_context(refused))

    def test_may_leave_out_an_optional_certificate(self, serve: Serve, authority: Authority) -> None:
        own = authority.issue()
        strange = Authority("Another").issue()
        with serve(f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt}}") as port:
            assert get(port, authority.client_context(own)) == "inside"
            assert get(port, authority.client_context()) == "inside"
            with pytest.raises(httpx.TransportError):
                get(port, authority.client_context(strange))

    def test_may_be_trusted_by_an_intermediate_authority(
        self, serve: Serve, tmp_path: Path, authority: Authority
    ) -> None:
        between = Authority("Between", parent=Authority("A root that is not here"))
        (tmp_path / "ca.crt").write_text(between.cert)
        own = between.issue()
        with serve(MUTUAL + "}") as port:
            assert get(port, authority.client_context(own)) == "inside"

    @pytest.mark.parametrize(
        ("allowed", "name"),
        [
            ("prometheus.clinic.test", "prometheus.clinic.test"),
            ("10.1.2.3", "10.1.2.3"),
            ("'2001:db8:0::1'", "2001:db8::1"),
            ("ops@clinic.test", "ops@clinic.test"),
            ("'spiffe://clinic/prometheus'", "spiffe://clinic/prometheus"),
        ],
    )
    def test_must_have_an_allowed_name(self, serve: Serve, authority: Authority, allowed: str, name: str) -> None:
        def ask(*names: str) -> str:
            own = authority.issue(*names)
            with contextlib.suppress(httpx.TransportError):
                # In TLS 1.2 the client's part of the handshake ends after the server's, in TLS 1.3 before it.
                assert get(port, only_tls12(authority.client_context(own))) == "inside"
            return get(port, authority.client_context(own))

        with serve(f"{MUTUAL}, client_allowed_sans: [someone.else, {allowed}]}}") as port, capture_logs() as logs:
            assert ask("also.this", name) == "inside"
            assert logs == []
            with pytest.raises(httpx.TransportError):
                ask("other.clinic.test", "10.1.2.4")
            assert [log["names"] for log in logs] == [["10.1.2.4", "other.clinic.test"]] * 2
            with pytest.raises(httpx.TransportError):
                ask()


@pytest.mark.usefixtures("certs")
class TestRotation:
    def test_the_next_connection_sees_the_new_certificate(
        self, serve: Serve, certs: Path, authority: Authority, client: ssl.SSLContext
    ) -> None:
        with serve(TLS + "}") as port:
            for _ in range(3):
                issued = authority.issue("localhost")
                issued.write(certs, "server")
                assert serial_shown(port, client) == issued.certificate.serial_number

    def test_a_broken_certificate_keeps_the_old_one_and_is_told_once(
        self, serve: Serve, certs: Path, authority: Authority, client: ssl.SSLContext
    ) -> None:
        with serve(TLS + "}") as port, capture_logs() as logs:
            before = serial_shown(port, client)
            issued = authority.issue("localhost")
            (certs / "server.crt").write_text(issued.cert)  # the key is still the old certificate's
            assert [serial_shown(port, client) for _ in range(3)] == [before] * 3
            assert [log["event"] for log in logs] == ["web configuration not reloaded, the last good one stays"]
            assert logs[0]["problems"] == [
                f"{certs}/web.yml:1: tls_server_config.key_file: is not the key of the certificate"
            ]
            (certs / "server.key").write_text(issued.key)
            assert serial_shown(port, client) == issued.certificate.serial_number
            assert logs[1]["event"] == "web configuration reloaded"

    def test_a_file_that_comes_later_is_found(
        self, serve: Serve, file: Path, certs: Path, authority: Authority, client: ssl.SSLContext
    ) -> None:
        with serve(TLS + "}") as port:
            before = serial_shown(port, client)
            file.write_text(TLS.replace("server.", "later.") + "}")
            assert serial_shown(port, client) == before
            issued = authority.issue("localhost")
            issued.write(certs, "later")
            assert serial_shown(port, client) == issued.certificate.serial_number

    def test_versions_and_client_policy_follow_the_file_too(
        self, serve: Serve, file: Path, authority: Authority
    ) -> None:
        own = authority.issue()
        with serve(TLS + "}") as port:
            assert get(port, only_tls12(authority.client_context())) == "inside"
            file.write_text(f"{MUTUAL}, min_version: TLS13}}")
            for refused in (authority.client_context(), only_tls12(authority.client_context(own))):
                with pytest.raises(httpx.TransportError):
                    get(port, refused)
            assert get(port, authority.client_context(own)) == "inside"

    def test_tls_is_not_lost_by_an_emptied_file(self, serve: Serve, file: Path, client: ssl.SSLContext) -> None:
        with serve(TLS + "}") as port, capture_logs() as logs:
            file.write_text("")
            assert get(port, client) == "inside"
            assert logs[0]["problems"] == [
                f"{file}:1: tls_server_config: TLS is not switched on or off without a restart"
            ]
