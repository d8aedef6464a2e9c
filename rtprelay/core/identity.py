"""Who we are in DTLS: one certificate for all associations, renewed in time; older ones serve those who were told of
them.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL.SSL import Context as DtlsContext

from rtprelay.security.certificate import VALIDITY, Certificate, generate
from rtprelay.security.dtls import make_context

RENEW_BEFORE = VALIDITY.total_seconds() / 2


class DtlsIdentity:
    """`make` gives a certificate valid from a time (seconds since the epoch); it must not block."""

    def __init__(self, make: Callable[[float], Certificate] = generate) -> None:
        self._make = make
        self._current: tuple[Certificate, DtlsContext] | None = None

    def certificate(self, now: float) -> Certificate:
        """The present one; `now` is in seconds since the epoch."""
        return self._get(now)[0]

    def context(self, now: float) -> DtlsContext:
        """What new associations are made with."""
        return self._get(now)[1]

    def _get(self, now: float) -> tuple[Certificate, DtlsContext]:
        if self._current is None or self._current[0].expires - now < RENEW_BEFORE:
            certificate = self._make(now)
            self._current = certificate, make_context(certificate)
        return self._current
