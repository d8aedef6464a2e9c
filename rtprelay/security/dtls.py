"""One DTLS-SRTP association (RFC 5763, RFC 5764) over OpenSSL with memory BIOs: datagrams in, datagrams and keys out;
and, for data channels, messages in and out.

OpenSSL keeps the retransmission timer by its own clock; `poll_timeout` translates it. The handshake is worth nothing
before the peer's certificate has been held against the fingerprint that signalling named: until then no key comes out.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from OpenSSL import SSL

from rtprelay.errors import RelayError
from rtprelay.security.certificate import Certificate, matches
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES, Suite

MTU = 1200
"""Of a handshake datagram: through every tunnel."""
MIN_MTU = 576
"""What every host takes (RFC 1122 section 3.3.2)."""
_RECORD_HEADER = 13
_MAX_MESSAGE = 16384
_MAX_RECORD = _MAX_MESSAGE + 2048 + _RECORD_HEADER
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL:!MD5"
_EXPORTER = b"EXTRACTOR-dtls_srtp"

PROFILES = {
    "SRTP_AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
    "SRTP_AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
    "SRTP_AES128_CM_SHA1_80": "AES_CM_128_HMAC_SHA1_80",
    "SRTP_AES128_CM_SHA1_32": "AES_CM_128_HMAC_SHA1_32",
}
"""OpenSSL's names of the protection profiles (RFC 5764 section 4.1.2, RFC 7714 section 14.2), and our suites."""
DEFAULT_PROFILES = (
    "SRTP_AES128_CM_SHA1_80",
    "SRTP_AEAD_AES_128_GCM",
    "SRTP_AEAD_AES_256_GCM",
    "SRTP_AES128_CM_SHA1_32",
)


class DtlsRole(enum.Enum):
    """By a=setup (RFC 5763 section 5): active is the client."""

    CLIENT = "active"
    SERVER = "passive"


class DtlsState(enum.Enum):
    HANDSHAKING = enum.auto()
    CONNECTED = enum.auto()
    """The peer is the signalled one; there are keys, unless it speaks no SRTP."""
    FAILED = enum.auto()
    CLOSED = enum.auto()


class DtlsFault(RelayError):
    label = "dtls"


class SrtpKeys(msgspec.Struct, frozen=True):
    """What the handshake agreed on: one master key for each direction."""

    send: SrtpParameters
    receive: SrtpParameters


def make_context(
    certificate: Certificate, profiles: Sequence[str] = DEFAULT_PROFILES, *, ciphers: str = CIPHERS, mtu: int = MTU
) -> SSL.Context:
    """Shared by all associations under one certificate: loading a key costs more than a handshake's share of it.
    `ciphers` as OpenSSL writes lists of them; `mtu` is that of the associations.
    """
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_app_data(mtu)
    context.use_certificate(x509.load_der_x509_certificate(certificate.certificate))
    context.use_privatekey(_private_key(certificate))
    context.set_cipher_list(ciphers.encode())
    context.set_tlsext_use_srtp(":".join(profiles).encode())
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    # Nobody takes a session up again: certificates are shown each time, and no handshake pays for a memory of it.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Every certificate is let through here, being self-signed; the fingerprint decides afterwards.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    return context


def check_ciphers(ciphers: str) -> None:
    """Raises ValueError where OpenSSL knows none of them."""
    try:
        SSL.Context(SSL.DTLS_METHOD).set_cipher_list(ciphers.encode())
    except SSL.Error as error:
        raise ValueError(f"OpenSSL knows no cipher of {ciphers!r}") from error


class DtlsAssociation:
    """`fingerprints`: a=fingerprint values of the peer, any of which is enough (RFC 8122 section 6.2); may come later
    by `expect`.
    """

    def __init__(self, context: SSL.Context, role: DtlsRole, fingerprints: Iterable[str] = ()) -> None:
        self.role = role
        self.state = DtlsState.HANDSHAKING
        self.keys: SrtpKeys | None = None
        self.failure: str | None = None
        self._expected = tuple(fingerprints)
        self._finished = False
        self._out: deque[bytes] = deque()
        self._messages: deque[bytes] = deque()
        self._connection = SSL.Connection(context, None)
        self._mtu: int = context.get_app_data()
        self._connection.set_ciphertext_mtu(self._mtu)
        if role is DtlsRole.CLIENT:
            self._connection.set_connect_state()
            self._step()
        else:
            self._connection.set_accept_state()

    @property
    def cipher(self) -> str | None:
        """The suite of the association, as OpenSSL calls it; None: none has been agreed on."""
        return self._connection.get_cipher_name()

    def expect(self, fingerprints: Iterable[str]) -> None:
        """Signalling has named the peer's certificate (the answer came after the handshake)."""
        self._expected = tuple(fingerprints)
        if self._finished and self.state is DtlsState.HANDSHAKING:
            self._conclude()

    def receive(self, datagram: bytes) -> None:
        """One datagram from the peer; what it is worth shows in `state`."""
        if self.state in (DtlsState.FAILED, DtlsState.CLOSED):
            return
        records = _complete_records(datagram)
        if not records or (records[0] == _ALERT and records[3:5] == b"\0\0"):
            return  # the latter is an alert in clear text: anyone could have sent it (RFC 6347 section 4.1.2.7)
        try:
            self._connection.bio_write(records)
        except SSL.Error as error:
            self._fail(error)
            return
        self._step()

    def handle_timeout(self) -> None:
        """Retransmit, if it is time."""
        if self.state is DtlsState.HANDSHAKING:
            try:
                self._connection.DTLSv1_handle_timeout()
            except SSL.Error as error:
                self._fail(error)
            self._drain()

    def poll_timeout(self, now: float) -> float | None:
        """When handle_timeout is due, on the clock of `now`."""
        if self.state is not DtlsState.HANDSHAKING:
            return None
        seconds = self._connection.DTLSv1_get_timeout()
        return None if seconds is None else now + seconds

    def poll_transmit(self) -> bytes | None:
        """The next datagram to send."""
        return self._out.popleft() if self._out else None

    def poll_message(self) -> bytes | None:
        """The next message the peer sent within DTLS."""
        return self._messages.popleft() if self._messages else None

    def send(self, message: bytes) -> None:
        """One message to the peer; before the handshake is done it is lost, as any datagram may be."""
        if self.state is not DtlsState.CONNECTED:
            return
        try:
            self._connection.send(message)
        except SSL.Error as error:
            self.failure = str(error)
        self._drain()

    def close(self) -> None:
        """Say good-bye (close_notify)."""
        if self.state is DtlsState.CONNECTED:
            try:
                self._connection.shutdown()
            except SSL.Error as error:
                self.failure = str(error)
            self._drain()
        self.state = DtlsState.CLOSED

    def _step(self) -> None:
        try:
            if self._finished:
                self._read()
            else:
                self._connection.do_handshake()
                self._finished = True
                self._conclude()
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.state = DtlsState.CLOSED
        except SSL.Error as error:
            if not self._finished:
                self._fail(error)
        self._drain()

    def _read(self) -> None:
        """All there is; nothing is heard of a peer that is not the signalled one."""
        while True:
            message = self._connection.recv(_MAX_MESSAGE)
            if self.state is DtlsState.CONNECTED:
                self._messages.append(message)

    def _conclude(self) -> None:
        """The handshake is done: hold the certificate against the fingerprint, then take the keys."""
        if not self._expected:
            return
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        der = b"" if certificate is None else certificate.public_bytes(Encoding.DER)
        if not der or not any(matches(der, signalled) for signalled in self._expected):
            self._fail("the peer's certificate is not the one that was signalled")
            return
        suite = SUITES.get(PROFILES.get(self._connection.get_selected_srtp_profile().decode(), ""))
        self.keys = None if suite is None else self._export(suite)
        self.state = DtlsState.CONNECTED

    def _export(self, suite: Suite) -> SrtpKeys:
        """RFC 5764 section 4.2: client key, server key, client salt, server salt."""
        material = self._connection.export_keying_material(_EXPORTER, 2 * suite.master_length)
        key, salt = suite.key_length, suite.salt_length
        client_salt = material[2 * key : 2 * key + salt]
        client = SrtpParameters(suite, MasterKey(material[:key], client_salt))
        server = SrtpParameters(suite, MasterKey(material[key : 2 * key], material[2 * key + salt :]))
        return SrtpKeys(client, server) if self.role is DtlsRole.CLIENT else SrtpKeys(server, client)

    def _fail(self, why: object) -> None:
        self.state = DtlsState.FAILED
        self.failure = str(why) or type(why).__name__

    def _drain(self) -> None:
        """A memory BIO keeps no datagram borders: take all, cut at the record headers, fill datagrams up to the MTU."""
        pending = bytearray()
        while True:
            try:
                pending += self._connection.bio_read(_MAX_RECORD)
            except SSL.WantReadError:
                break
        self._out.extend(_datagrams(bytes(pending), self._mtu))


_ALERT = 21
_CONTENT_TYPES = range(20, 26)
_VERSIONS = (b"\xfe\xfd", b"\xfe\xff")
"""DTLS 1.2, and what a ClientHello says for the sake of old servers (RFC 6347 section 4.1)."""


def _complete_records(datagram: bytes) -> bytes:
    """The records of a datagram up to the first that is none. A memory BIO is a stream: half a record would be
    completed with the beginning of the next datagram.
    """
    at = 0
    while len(datagram) >= at + _RECORD_HEADER:
        end = at + _RECORD_HEADER + int.from_bytes(datagram[at + 11 : at + 13])
        known = datagram[at] in _CONTENT_TYPES and datagram[at + 1 : at + 3] in _VERSIONS
        if not known or end > len(datagram) or end - at > _MAX_RECORD:
            break
        at = end
    return datagram[:at]


def _datagrams(records: bytes, mtu: int) -> Iterable[bytes]:
    start = at = 0
    while at < len(records):
        end = at + _RECORD_HEADER + int.from_bytes(records[at + 11 : at + 13])
        if end - start > mtu and at > start:
            yield records[start:at]
            start = at
        at = end
    if start < len(records):
        yield records[start:]


def _private_key(certificate: Certificate) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    key = load_der_private_key(certificate.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return key
