"""TLS options of a check, and the one context that all checks with the same options share."""

from __future__ import annotations

import functools
import ssl
from typing import Literal, Self

from pydantic import model_validator

from rounds.fields import Model, ReadableFile, Secret, SecretFile, exclusive, problem


class TlsOptions(Model):
    """How a check's TLS connections are made and verified. Ignored for plain HTTP."""

    ca_file: ReadableFile | None = None
    """The certificate authorities to trust instead of the system's."""
    cert_file: ReadableFile | None = None
    """A client certificate."""
    key_file: ReadableFile | None = None
    """Its private key, where it is not in the same file."""
    key_password: Secret | None = None
    """The key's password, where it has one."""
    key_password_file: SecretFile | None = None
    """A file that holds it."""
    server_name: str | None = None
    """The name to ask for (SNI) and to verify, instead of the URL's host. A redirect to another host drops it."""
    insecure_skip_verify: bool = False
    """Accept any certificate; its expiry is still exported."""
    min_version: Literal["TLS1.2", "TLS1.3"] = "TLS1.2"
    """The oldest version of TLS that will do."""

    @model_validator(mode="after")
    def _loadable(self) -> Self:
        exclusive(self, "key_password", "key_password_file")
        if self.key_file and not self.cert_file:
            raise problem("needs cert_file beside it", "key_file")
        if self.model_fields_set:
            self._context()
        return self

    def context(self) -> ssl.SSLContext:
        """The context for these options, shared by all that have the same: making one costs 20 ms.

        Files that have changed since, as certificates do when they are renewed, are read again.
        """
        files = [path.stat() for path in (self.ca_file, self.cert_file, self.key_file) if path]
        return _context(self, tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in files))

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (ssl.SSLError, OSError):
            raise problem("holds no certificate in PEM form", "ca_file") from None
        password = self.key_password or self.key_password_file
        if self.cert_file:
            try:
                # A key without its password must fail here, not ask on the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, lambda: password.reveal() if password else "")
            except (ssl.SSLError, OSError):
                at = "key_file" if self.key_file else "cert_file"
                raise problem("certificate and key cannot be loaded, or do not belong together", at) from None
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if self.min_version == "TLS1.3" else ssl.TLSVersion.TLSv1_2
        return context


@functools.lru_cache(maxsize=256)
def _context(options: TlsOptions, files: tuple[tuple[int, ...], ...]) -> ssl.SSLContext:  # noqa: ARG001  # in the key
    return options._context()  # noqa: SLF001
