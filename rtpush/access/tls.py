"""TLS by the server itself, where there is no proxy in front.

Rules that hold here:

- TLS 1.2 or newer, with what Python and OpenSSL take for safe.
- A certificate that cannot be used is refused in one sentence, at the start
  and when it is read again; what was in use stays in use.
"""

from __future__ import annotations

import ssl

from ..config.settings import Settings

__all__ = ["TlsError", "load_certificate", "make_context"]


class TlsError(Exception):
    """The certificate cannot be used. The message is one sentence."""


def make_context(settings: Settings) -> ssl.SSLContext | None:
    """What to listen with; None for plain HTTP. Raises TlsError."""
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise TlsError("tls_key is set and tls_cert is not; give both")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, settings)
    return context


def load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Read certificate and key; for connections from now on. Raises TlsError."""
    assert settings.tls_cert is not None
    for path in (settings.tls_cert, settings.tls_key):
        if path is not None and not path.is_file():
            raise TlsError(f"tls_cert or tls_key: there is no file {path}")
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (ssl.SSLError, OSError) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise TlsError(
            f"{settings.tls_cert} cannot be used ({reason}): it has to be a certificate chain in "
            "PEM, and tls_key its private key without a passphrase"
        ) from exc
