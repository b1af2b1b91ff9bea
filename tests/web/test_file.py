"""What the web configuration file refuses, and how it says so."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from rounds.errors import ConfigError
from rounds.webconfig import WebConfig
from support.certificates import Authority

TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n"
UNVERIFIED = (
    "cannot be done: Python's ssl module never accepts a certificate that it has not verified; "
    "use RequireAndVerifyClientCert or VerifyClientCertIfGiven"
)
BAD_HASH = "is no bcrypt hash such as htpasswd -nB makes: $2y$, cost 04 to 31, and 53 characters"
#: With a salt that stays, so that tests which have it in their names keep them.
HASH = bcrypt.hashpw(b"right", b"$2b$04$abcdefghijklmnopqrstuu").decode()


@pytest.fixture
def folder(certs: Path, authority: Authority) -> Path:
    """More files, good and bad, beside the file."""
    authority.issue("localhost").write(certs, "other")
    (certs / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\nSECRETJUNK\n-----END CERTIFICATE-----\n")
    (certs / "empty").write_text("")
    key = rsa.generate_private_key(65_537, 2048)
    (certs / "locked.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    )
    return certs


def refusal(folder: Path, text: str) -> list[str]:
    file = folder / "web.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        WebConfig.load(file)
    assert "SECRET" not in str(refused.value)
    assert HASH not in str(refused.value)
    return [problem.removeprefix(f"{file}:") for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tls_config: {}", "1: tls_config: unknown key; did you mean 'tls_server_config'?"),
        ("- SECRET", "1: must hold a mapping of sections"),
        ("a: [", "1: is not valid YAML: expected the node content, but found '<stream end>'"),
        (TLS + "  cert_fiel: SECRET\n", "4: tls_server_config.cert_fiel: unknown key; did you mean 'cert_file'?"),
        (TLS + "  key_file: other.key\n", "4: tls_server_config.key_file: is given twice; first on line 3"),
        ("tls_server_config: SECRET", "1: tls_server_config: should be a mapping of keys to values"),
        # certificate and key
        ("tls_server_config:\n  key_file: server.key\n", "1: tls_server_config.cert_file: is required"),
        ("tls_server_config:\n  cert_file: server.crt\n", "1: tls_server_config.key_file: is required"),
        (
            "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n",
            "2: tls_server_config.cert_file: is required",
        ),
        ("tls_server_config: {min_version: TLS13}", "1: tls_server_config.cert_file: is required"),
        (
            TLS.replace("server.key", "missing.key"),
            "3: tls_server_config.key_file: {folder}/missing.key cannot be read: No such file or directory",
        ),
        (
            TLS.replace("server.crt", "."),
            "2: tls_server_config.cert_file: {folder} cannot be read: Is a directory",
        ),
        (TLS.replace("server.key", "other.key"), "3: tls_server_config.key_file: is not the key of the certificate"),
        (TLS.replace("server.crt", "junk.pem"), "2: tls_server_config.cert_file: holds no usable PEM certificate"),
        (TLS.replace("server.crt", "server.key"), "2: tls_server_config.cert_file: holds no usable PEM certificate"),
        (TLS.replace("server.key", "server.crt"), "3: tls_server_config.key_file: holds no usable PEM private key"),
        (TLS.replace("server.key", "empty"), "3: tls_server_config.key_file: holds no usable PEM private key"),
        (
            TLS.replace("server.key", "locked.key"),
            "3: tls_server_config.key_file: is protected by a passphrase, which nobody could enter; give a plain key",
        ),
        (
            TLS + "  cert: SECRET\n",
            "2: tls_server_config.cert_file: cannot stand beside cert; give one of them",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key: SECRET\n",
            "3: tls_server_config.key: holds no usable PEM private key",
        ),
        (
            "tls_server_config:\n  cert: SECRET\n  key: SECRET\n",
            "2: tls_server_config.cert: holds no usable PEM certificate",
        ),
        ("tls_server_config:\n  cert: {a: SECRET}\n", "2: tls_server_config.cert: should be text; put it in quotes"),
        # clients
        (MUTUAL, "1: tls_server_config.client_ca_file: is required by client_auth_type"),
        (
            MUTUAL + "  client_ca_file: empty\n",
            "5: tls_server_config.client_ca_file: holds no usable PEM certificate",
        ),
        (MUTUAL + "  client_ca: SECRET\n", "5: tls_server_config.client_ca: holds no usable PEM certificate"),
        (
            TLS + "  client_ca_file: ca.crt\n",
            "4: tls_server_config.client_ca_file: has no effect without client_auth_type: RequireAndVerifyClientCert",
        ),
        *(
            (f"{TLS}  client_auth_type: {kind}\n", f"4: tls_server_config.client_auth_type: {UNVERIFIED}")
            for kind in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
        ),
        (
            TLS + "  client_auth_type: RequireAndVerifyClientCerts\n",
            (
                "4: tls_server_config.client_auth_type: unknown client_auth_type; "
                "did you mean 'RequireAndVerifyClientCert'?"
            ),
        ),
        (
            MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
            + "  client_ca_file: ca.crt\n  client_allowed_sans: [a]\n",
            "6: tls_server_config.client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
        ),
        (
            TLS + "  client_allowed_sans: [a]\n",
            "4: tls_server_config.client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert",
        ),
        (
            MUTUAL + "  client_ca_file: ca.crt\n  client_allowed_sans: []\n",
            "6: tls_server_config.client_allowed_sans: should name at least one; an empty list lets nobody in",
        ),
        (
            MUTUAL + "  client_ca_file: ca.crt\n  client_allowed_sans:\n",
            "6: tls_server_config.client_allowed_sans: should be a list",
        ),
        # versions, suites, curves
        *(
            (
                f"{TLS}  {key}: {version}\n",
                (
                    f"4: tls_server_config.{key}: is not offered by OpenSSL at its usual security level; "
                    "the oldest is TLS12"
                ),
            )
            for key, version in (("min_version", "TLS10"), ("min_version", "TLS11"), ("max_version", "TLS11"))
        ),
        (TLS + "  cipher_suites: SECRET\n", "4: tls_server_config.cipher_suites: should be a list"),
        (TLS + "  min_version: SSL3\n", "4: tls_server_config.min_version: unknown TLS version; one of TLS12, TLS13"),
        (TLS + "  min_version: 1.2\n", "4: tls_server_config.min_version: unknown TLS version; one of TLS12, TLS13"),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12\n",
            "4: tls_server_config.min_version: is later than max_version",
        ),
        (
            TLS + "  cipher_suites:\n    - TLS_AES_128_GCM_SHA256\n    - TLS_ECDHE_RSA_WITH_AES_128_GCM\n",
            (
                "6: tls_server_config.cipher_suites[1]: unknown cipher suite; "
                "did you mean 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'?"
            ),
        ),
        (
            TLS + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
            "5: tls_server_config.cipher_suites: names no suite of TLS 1.2, which is the latest allowed",
        ),
        (
            TLS + "  curve_preferences: [P256]\n",
            "4: tls_server_config.curve_preferences[0]: unknown curve; did you mean 'CurveP256'?",
        ),
        (
            TLS + "  curve_preferences: [X25519, CurveP256]\n",
            (
                "4: tls_server_config.curve_preferences: Python's ssl module takes one curve; "
                "give one, or none for OpenSSL's choice"
            ),
        ),
        (
            TLS + "  prefer_server_cipher_suites: perhaps\n",
            "4: tls_server_config.prefer_server_cipher_suites: should be true or false",
        ),
        # headers
        (
            "http_server_config:\n  headers:\n    X-Secret: SECRET\n",
            (
                "3: http_server_config.headers.X-Secret: cannot be set; only Content-Security-Policy, "
                "Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"
            ),
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: DENY\n",
            "3: http_server_config.headers.X-Frame-Options: should be deny or sameorigin",
        ),
        (
            "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n",
            "3: http_server_config.headers.X-Content-Type-Options: should be nosniff",
        ),
        (
            'http_server_config:\n  headers:\n    X-XSS-Protection: "0\\r\\nSet-Cookie: SECRET"\n',
            "3: http_server_config.headers.X-XSS-Protection: should be one line of plain ASCII characters",
        ),
        # passwords
        ("basic_auth_users:\n  ana: SECRET\n", f"2: basic_auth_users.ana: {BAD_HASH}"),
        (f"basic_auth_users:\n  ana: {HASH[:-1]}\n", f"2: basic_auth_users.ana: {BAD_HASH}"),
        (f"basic_auth_users:\n  ana: {HASH.replace('$04$', '$03$')}\n", f"2: basic_auth_users.ana: {BAD_HASH}"),
        ("basic_auth_users:\n  ana: 12345\n", "2: basic_auth_users.ana: should be text; put it in quotes"),
        (
            f"basic_auth_users:\n  'a:b': {HASH}\n",
            "2: basic_auth_users.a:b: holds ':' or nothing, so that nobody could log in by that name",
        ),
        ("basic_auth_users:\n  - ana\n", "1: basic_auth_users: should be a mapping of keys to values"),
        # rate limit
        (
            "rate_limit: {interval: 1s}",
            "1: rate_limit.burst: should be 1 or more; otherwise every request is refused",
        ),
        (
            "rate_limit: {interval: 5, burst: 1}",
            "1: rate_limit.interval: should be a duration such as 15s, 1m30s or 500ms; write 5s",
        ),
        ("rate_limit: {interval: 1s, burst: many}", "1: rate_limit.burst: should be a whole number"),
    ],
)
def test_a_mistake_is_refused_where_it_stands(folder: Path, text: str, problem: str) -> None:
    assert refusal(folder, text) == [problem.replace("{folder}", str(folder))]


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    text = "tls_server_config: {min_version: TLS1}\nbasic_auth_users:\n  ana: SECRET\n  bob: SECRET\nrate_limt: {}\n"
    assert [problem.split(": ")[0:2] for problem in refusal(folder, text)] == [
        ["1", "tls_server_config.min_version"],
        ["3", "basic_auth_users.ana"],
        ["4", "basic_auth_users.bob"],
        ["5", "rate_limt"],
    ]


def test_a_key_too_weak_for_openssl_is_refused(folder: Path, authority: Authority) -> None:
    weak = Authority("Weak", private_key=rsa.generate_private_key(65_537, 1024))
    weak.write(folder, "server")
    assert refusal(folder, TLS) == ["2: tls_server_config.cert_file: OpenSSL refuses it: EE_KEY_TOO_SMALL"]


def test_a_missing_file_names_its_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        WebConfig.load(tmp_path / "web.yml")
    assert refused.value.problems == [
        f"{tmp_path}/web.yml: cannot be read: No such file or directory; name the file with --web.config.file"
    ]


def test_paths_are_relative_to_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (folder / "web.yml").write_text(TLS)
    assert WebConfig.load(folder / "web.yml").tls is not None


def test_variables_are_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "server")
    (folder / "${NAME}.crt").write_bytes((folder / "server.crt").read_bytes())
    (folder / "server.crt").unlink()
    (folder / "web.yml").write_text(TLS.replace("server.crt", "${NAME}.crt"))
    assert WebConfig.load(folder / "web.yml").tls is not None


def test_without_a_file_there_is_no_protection() -> None:
    web = WebConfig.load(None)
    web.refresh()
    assert (web.tls, web.ssl_context(), dict(web.settings.basic_auth_users)) == (None, None, {})


def test_what_was_read_never_shows_a_secret(folder: Path) -> None:
    key = (folder / "server.key").read_text()
    indented = key.replace("\n", "\n    ")
    text = f"tls_server_config:\n  cert_file: server.crt\n  key: |\n    {indented}\nbasic_auth_users: {{ana: {HASH}}}\n"
    (folder / "web.yml").write_text(text)
    settings = WebConfig.load(folder / "web.yml").settings
    for shown in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert HASH not in shown
        assert "PRIVATE KEY" not in shown
