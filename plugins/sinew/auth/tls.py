"""TLS as a connection asks for it: client certificate, private CA, names always checked."""

from __future__ import annotations

import os
import ssl
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from sinew.auth.models import Tls
from sinew.errors import TlsError

_PEM = "-----BEGIN "


def context(tls: Tls | None) -> ssl.SSLContext:
    """A client's context: at least TLS 1.2, the server's certificate and name always checked.

    Raises TlsError when a file cannot be read, the key does not fit, or our certificate has expired.
    """
    made = _trusting(tls)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls is not None and tls.certificate and tls.key:
        _refuse_outdated(tls)
        _load_ours(made, tls)
    return made


def thumbprint(tls: Tls | None) -> str | None:
    """``x5t#S256`` of our certificate (RFC 8705 §3.1), or None without one."""
    if tls is None or not tls.certificate:
        return None
    digest = _certificate(tls.certificate).fingerprint(SHA256())
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def pem(text: str, what: str) -> str:
    """The PEM in a setting: the text itself, or the content of the file that it names."""
    if _PEM in text:
        # Forms and environment variables keep no line ends; they are often written as \\n.
        return text if "\n" in text.strip() else text.replace("\\n", "\n")
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        # A path may be a mistyped secret, so only what the system says is repeated.
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise TlsError(
            f"{what} is neither PEM nor a file that can be read ({reason}); allowed: text that starts "
            "with -----BEGIN, or the path of such a file on this worker: correct it"
        ) from None


def _trusting(tls: Tls | None) -> ssl.SSLContext:
    if tls is None or not tls.ca:
        named = next(filter(None, map(os.environ.get, _CA_VARIABLES)), certifi.where())
        if Path(named).is_dir():
            return ssl.create_default_context(capath=named)
        return ssl.create_default_context(cafile=named)
    try:
        # With cadata, the system's own certificates are not trusted.
        return ssl.create_default_context(cadata=pem(tls.ca, "tls.ca"))
    except ssl.SSLError:
        raise TlsError(
            "tls.ca holds no certificate that can be read; allowed: PEM certificates: correct it"
        ) from None


_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def _load_ours(made: ssl.SSLContext, tls: Tls) -> None:
    assert tls.certificate is not None and tls.key is not None
    certificate = pem(tls.certificate, "tls.certificate")
    key = pem(tls.key.get_secret_value(), "tls.key")
    phrase = tls.key_passphrase.get_secret_value() if tls.key_passphrase else ""
    try:
        with _as_file(certificate) as certificate_file, _as_file(key) as key_file:
            # A function, because OpenSSL asks at the terminal when it gets no password at all.
            made.load_cert_chain(certificate_file, key_file, lambda: phrase)
    except (ssl.SSLError, ValueError, OSError):
        raise TlsError(_why_not(key, phrase)) from None


def _why_not(key: str, phrase: str) -> str:
    if "ENCRYPTED" in key:
        state = "does not open it" if phrase else "is missing"
        return (
            f"tls.key is encrypted and tls.key_passphrase {state}: give the passphrase that the key "
            "was encrypted with"
        )
    return (
        "tls.certificate and tls.key cannot be used together: they are no PEM, or the key belongs to "
        "another certificate: give the pair that was issued together"
    )


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path that reads ``text``: in memory where the system can, else a private file for a moment."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("pem", os.MFD_CLOEXEC)
        path, on_disk = f"/proc/self/fd/{number}", False
    else:
        number, path = tempfile.mkstemp()  # mode 0600
        on_disk = True
    try:
        os.write(number, text.encode())
        yield path
    finally:
        if on_disk:
            os.ftruncate(number, 0)
            os.unlink(path)
        os.close(number)


def _certificate(text: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem(text, "tls.certificate").encode())[0]
    except (ValueError, IndexError):
        raise TlsError(
            "tls.certificate holds no certificate that can be read; allowed: PEM: correct it"
        ) from None


def _refuse_outdated(tls: Tls) -> None:
    ours = _certificate(tls.certificate or "")
    now = datetime.now(UTC)
    until, since = ours.not_valid_after_utc, ours.not_valid_before_utc
    if now > until:
        raise TlsError(
            f"our client certificate expired on {until:%Y-%m-%d %H:%M} UTC (this machine's clock: "
            f"{now:%Y-%m-%d %H:%M}): have it renewed and put the new one into tls.certificate"
        )
    if now < since:
        raise TlsError(
            f"our client certificate is valid from {since:%Y-%m-%d %H:%M} UTC only, and this machine's "
            f"clock says {now:%Y-%m-%d %H:%M}: set the clock, or wait"
        )
