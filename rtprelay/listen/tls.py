"""TLS for control listeners: our certificate, and the authority whose clients are let in."""

from __future__ import annotations

import ssl
from pathlib import Path

from rtprelay.errors import OurFault


def server_context(certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 and up (RFC 8996). Without `key` the certificate's file holds it too; with `client_ca` a client has to
    show a certificate that authority has signed. Raises OurFault, which names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation is work a client could ask for over and over.
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # The callback keeps OpenSSL from asking the terminal for the password of an encrypted key.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise OurFault(f"TLS certificate {certificate} or its key: {_text(error)}") from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise OurFault(f"TLS client authority {client_ca}: {_text(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
