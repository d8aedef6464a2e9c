"""Who we are in DTLS: the certificates our parties were told of, the newest for those who come now.

A leg keeps the certificate whose fingerprint its party knows, so that a re-offer does not ask for a new association
(RFC 8842 section 5.1), whatever has been renewed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from OpenSSL.SSL import Context as DtlsContext

from rtprelay.security.certificate import Certificate, generate
from rtprelay.security.dtls import CIPHERS, MTU, make_context

MAX_CERTIFICATES = 8
"""Four months' worth: RENEW_AFTER is half of a month."""


class DtlsIdentity:
    """A certificate's id is its SHA-256 fingerprint. `make` gives one valid from a time (seconds since the epoch) where
    none was added before it is needed; it must not block.
    """

    def __init__(
        self, now: float, make: Callable[[float], Certificate] = generate, *, ciphers: str = CIPHERS, mtu: int = MTU
    ) -> None:
        self._now = now
        self._make = make
        self._ciphers = ciphers
        self._mtu = mtu
        self._known: dict[str, tuple[Certificate, DtlsContext]] = {}

    def add(self, certificates: Iterable[Certificate]) -> None:
        """The last one is what is shown from now on."""
        for certificate in certificates:
            context = make_context(certificate, ciphers=self._ciphers, mtu=self._mtu)
            self._known[certificate.fingerprint("sha-256")] = certificate, context
        for oldest in list(self._known)[:-MAX_CERTIFICATES]:
            del self._known[oldest]

    def newest(self) -> str:
        if not self._known:
            self.add((self._make(self._now),))
        return next(reversed(self._known))

    def knows(self, certificate: str) -> bool:
        return certificate in self._known

    def fingerprint(self, certificate: str, name: str) -> str:
        """By the name of the hash (RFC 8122). Raises KeyError, ValueError."""
        return self._known[certificate][0].fingerprint(name)

    def context(self, certificate: str) -> DtlsContext:
        """What associations under it are made with. In the place of one that was lost stands the newest: its party will
        not take us for whom it was told, until it is told anew.
        """
        return self._known[certificate if certificate in self._known else self.newest()][1]
