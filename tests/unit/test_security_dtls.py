"""DTLS-SRTP associations talking to each other over a network that is not kind."""

from __future__ import annotations

import contextlib
import random
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from OpenSSL import SSL

from rtprelay.security.certificate import Certificate, KeyType, generate
from rtprelay.security.dtls import (
    MIN_MTU,
    MTU,
    PROFILES,
    DtlsAssociation,
    DtlsRole,
    DtlsState,
    check_ciphers,
    make_context,
)
from rtprelay.security.srtp import SrtpContext

NOW = 1_800_000_000.0
_HANDSHAKE, _ALERT, _APPLICATION = 22, 21, 23


class Side:
    """A certificate, its context and its fingerprint."""

    def __init__(self, certificate: Certificate, profiles: Sequence[str] = tuple(PROFILES), **options: Any) -> None:
        self.context: SSL.Context = make_context(certificate, profiles, **options)
        self.fingerprint = "sha-256 " + certificate.fingerprint("sha-256")


@pytest.fixture(scope="module")
def alice() -> Side:
    return Side(generate(NOW))


@pytest.fixture(scope="module")
def bob() -> Side:
    return Side(generate(NOW))


@pytest.fixture(scope="module")
def large() -> Side:
    """Its certificate alone takes several datagrams."""
    return Side(generate(NOW, KeyType.RSA, 4096))


class Pair:
    """A client and a server; datagrams pass through `network`, which may drop, repeat and reorder them."""

    def __init__(self, client: Side, server: Side) -> None:
        self.client = DtlsAssociation(client.context, DtlsRole.CLIENT, [server.fingerprint])
        self.server = DtlsAssociation(server.context, DtlsRole.SERVER, [client.fingerprint])
        self.sizes: list[int] = []

    def exchange(self, network: Callable[[list[bytes]], list[bytes]] = list) -> bool:
        """One flight each way. False: there was nothing to say."""
        said = False
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            flight = drain(sender)
            self.sizes += map(len, flight)
            said = said or bool(flight)
            for datagram in network(flight):
                receiver.receive(datagram)
        return said

    def run(self) -> None:
        while self.exchange():
            pass

    @property
    def states(self) -> tuple[DtlsState, DtlsState]:
        return self.client.state, self.server.state


CONNECTED = (DtlsState.CONNECTED, DtlsState.CONNECTED)


def drain(association: DtlsAssociation) -> list[bytes]:
    flight = []
    while (datagram := association.poll_transmit()) is not None:
        flight.append(datagram)
    return flight


def rtp(sequence: int) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, sequence, 160, 7) + b"payload"


def same_keys(pair: Pair) -> bool:
    """What one side protects, the other unprotects, in both directions."""
    client, server = pair.client.keys, pair.server.keys
    assert client is not None
    assert server is not None
    there = SrtpContext(server.receive).unprotect(SrtpContext(client.send).protect(rtp(1)))
    back = SrtpContext(client.receive).unprotect(SrtpContext(server.send).protect(rtp(2)))
    return (there, back) == (rtp(1), rtp(2))


def test_two_sides_agree_on_keys(alice: Side, bob: Side) -> None:
    pair = Pair(alice, bob)
    pair.run()
    assert pair.states == CONNECTED
    assert same_keys(pair)


@pytest.mark.parametrize(("profile", "suite"), PROFILES.items())
def test_every_profile_can_be_agreed_on(alice: Side, profile: str, suite: str) -> None:
    pair = Pair(alice, Side(generate(NOW), (profile,)))
    pair.run()
    assert pair.states == CONNECTED
    assert pair.client.keys is not None
    assert pair.client.keys.send.suite.name == suite
    assert same_keys(pair)


def test_without_a_profile_in_common_there_are_no_keys() -> None:
    pair = Pair(Side(generate(NOW), ("SRTP_AEAD_AES_128_GCM",)), Side(generate(NOW), ("SRTP_AES128_CM_SHA1_80",)))
    pair.run()
    assert pair.states == CONNECTED
    assert pair.client.keys is None
    assert pair.server.keys is None


def test_a_large_certificate_is_cut_into_datagrams_that_fit(large: Side, alice: Side) -> None:
    for client, server in ((large, alice), (alice, large)):
        pair = Pair(client, server)
        pair.run()
        assert pair.states == CONNECTED
        assert same_keys(pair)
        assert max(pair.sizes) <= MTU


@pytest.mark.parametrize("seed", range(8))
def test_datagrams_out_of_order_or_twice_do_no_harm(alice: Side, large: Side, seed: int) -> None:
    dice = random.Random(seed)

    def network(flight: list[bytes]) -> list[bytes]:
        shuffled = flight + dice.sample(flight, len(flight) // 2)
        dice.shuffle(shuffled)
        return shuffled

    pair = Pair(alice, large)
    while pair.exchange(network):
        pass
    assert pair.states == CONNECTED
    assert same_keys(pair)


def test_garbage_between_does_no_harm(alice: Side, bob: Side) -> None:
    dice = random.Random(1)
    pair = Pair(alice, bob)

    def network(flight: list[bytes]) -> list[bytes]:
        noisy = []
        for datagram in flight:
            noisy += [b"", b"\x16", datagram[:7], bytes([22, 254, 253]) + dice.randbytes(60), datagram]
        return noisy

    while pair.exchange(network):
        pass
    assert pair.states == CONNECTED
    assert same_keys(pair)


def test_a_lost_flight_is_sent_again_when_it_is_time(alice: Side, bob: Side) -> None:
    """OpenSSL looks at its own clock, so this takes the second that it takes (RFC 6347 section 4.2.4.1)."""
    pair = Pair(alice, bob)
    assert drain(pair.client), "lost"
    pair.client.handle_timeout()
    assert not drain(pair.client), "before its time nothing is repeated"
    while (due := pair.client.poll_timeout(now := time.monotonic())) is not None and due > now:
        time.sleep(due - now)
    pair.client.handle_timeout()
    pair.run()
    assert pair.states == CONNECTED
    assert same_keys(pair)
    assert pair.client.poll_timeout(time.monotonic()) is None


def test_the_wrong_certificate_gets_no_keys(alice: Side, bob: Side) -> None:
    mallory = Side(generate(NOW))
    pair = Pair(mallory, bob)
    pair.server.expect([alice.fingerprint])
    pair.run()
    assert pair.server.state is DtlsState.FAILED
    assert pair.server.keys is None
    assert "signalled" in (pair.server.failure or "")


def test_the_fingerprint_may_come_after_the_handshake(alice: Side, bob: Side) -> None:
    pair = Pair(alice, bob)
    pair.server.expect([])
    pair.run()
    assert pair.states == (DtlsState.CONNECTED, DtlsState.HANDSHAKING)
    assert pair.server.keys is None
    pair.server.expect(["sha-256 " + "00:" * 31 + "00", alice.fingerprint])
    assert pair.states == CONNECTED
    assert same_keys(pair)


def test_a_wrong_fingerprint_after_the_handshake_fails_it(alice: Side, bob: Side) -> None:
    pair = Pair(alice, bob)
    pair.server.expect([])
    pair.run()
    pair.server.expect([bob.fingerprint])
    assert pair.server.state is DtlsState.FAILED
    assert pair.server.keys is None


def forged_alerts(description: int) -> list[bytes]:
    """In clear text, warnings and fatal ones."""
    sequences = (0, 1, 1 << 40)
    heads = [(level, sequence >> 32, sequence & 0xFFFFFFFF) for level in (1, 2) for sequence in sequences]
    return [struct.pack("!BHHHIHBB", _ALERT, 0xFEFD, 0, high, low, 2, level, description) for level, high, low in heads]


@pytest.mark.parametrize("description", [0, 10, 40, 80, 90])
def test_a_clear_text_alert_from_anyone_ends_nothing(alice: Side, bob: Side, description: int) -> None:
    pair = Pair(alice, bob)
    pair.run()
    for forged in forged_alerts(description):
        pair.server.receive(forged)
        pair.client.receive(forged)
    assert pair.states == CONNECTED


@pytest.mark.parametrize("description", [0, 10, 40, 80, 90])
def test_neither_does_one_in_the_middle_of_the_handshake(alice: Side, bob: Side, description: int) -> None:
    pair = Pair(alice, bob)
    going = True
    while going:
        going = pair.exchange()
        for forged in forged_alerts(description):
            pair.server.receive(forged)
            pair.client.receive(forged)
    assert pair.states == CONNECTED


def test_close_notify_ends_it_on_both_sides(alice: Side, bob: Side) -> None:
    pair = Pair(alice, bob)
    pair.run()
    pair.client.close()
    pair.exchange()
    assert pair.states == (DtlsState.CLOSED, DtlsState.CLOSED)


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_datagram_raises(alice: Side, bob: Side, when: str) -> None:
    dice = random.Random(2)
    pair = Pair(alice, bob)
    if when == "after":
        pair.run()
    state = pair.server.state
    for length in (0, 1, 2, 12, 13, 14, 25, 100, 1500, 16_500, 65_507):
        for kind in (_HANDSHAKE, _ALERT, _APPLICATION, 20, 63):
            pair.server.receive(bytes([kind])[:length] + dice.randbytes(max(0, length - 1)))
            header = struct.pack("!BHHHIH", kind, 0xFEFD, 1, 0, 7, max(0, length - 13) & 0xFFFF)
            pair.server.receive((header + dice.randbytes(length))[:length])
    if when == "after":
        assert pair.server.state is state
    assert pair.server.state is not DtlsState.CONNECTED or same_keys(pair)


def test_the_hello_of_another_client_does_not_reset_the_keys(alice: Side, bob: Side) -> None:
    """From the same address, as a NAT rebinding or an attacker would."""
    pair = Pair(alice, bob)
    pair.run()
    keys = pair.server.keys
    stranger = DtlsAssociation(Side(generate(NOW)).context, DtlsRole.CLIENT)
    for hello in drain(stranger):
        pair.server.receive(hello)
    assert pair.server.state is DtlsState.CONNECTED
    assert pair.server.keys == keys


@pytest.mark.parametrize("mtu", [MIN_MTU, 900, 1400])
def test_flights_are_cut_to_the_size_the_operator_says(mtu: int) -> None:
    """The certificate of RSA with 4,096 bits takes more than a record of 576 bytes."""
    certificate = generate(NOW, KeyType.RSA, 4096)
    pair = Pair(Side(certificate, mtu=mtu), Side(certificate, mtu=mtu))
    while pair.exchange():
        pass
    assert pair.client.state is pair.server.state is DtlsState.CONNECTED
    assert mtu - 300 < max(pair.sizes) <= mtu


def test_only_the_ciphers_that_are_allowed_are_agreed_on(alice: Side) -> None:
    narrow = Side(generate(NOW), ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    pair = Pair(alice, narrow)
    while pair.exchange():
        pass
    assert pair.client.cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"
    nothing = Pair(Side(generate(NOW), ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"), narrow)
    while nothing.exchange():
        pass
    assert nothing.server.state is DtlsState.FAILED


def test_a_list_of_no_cipher_at_all_is_refused() -> None:
    check_ciphers("DEFAULT:!NULL:!aNULL:!SHA256:!SHA384:!aECDH:!AESGCM+AES256:!aPSK")  # rtpengine's own default
    with pytest.raises(ValueError, match="knows no cipher"):
        check_ciphers("rot13")


def handshake_messages(flight: Sequence[bytes]) -> set[int]:
    """Types of those in clear text (RFC 6347 section 4.2.2), each with its first fragment at least."""
    found = set()
    for datagram in flight:
        at = 0
        while at < len(datagram):
            if datagram[at] == _HANDSHAKE and datagram[at + 3 : at + 5] == b"\0\0":
                found.add(datagram[at + 13])
            at += 13 + int.from_bytes(datagram[at + 11 : at + 13])
    return found


_CERTIFICATE, _NEW_SESSION_TICKET = 11, 4


def test_nobody_takes_a_session_up_again(alice: Side) -> None:
    """A client that asks for a ticket gets none, and has to hear and show certificates every time."""
    context = SSL.Context(SSL.DTLS_METHOD)
    certificate = generate(NOW)
    context.use_certificate(x509.load_der_x509_certificate(certificate.certificate))
    key = load_der_private_key(certificate.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    context.use_privatekey(key)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    session: SSL.Session | None = None
    for _ in range(2):
        client = SSL.Connection(context, None)
        client.set_connect_state()
        client.set_ciphertext_mtu(MTU)
        if session is not None:
            client.set_session(session)
        server = DtlsAssociation(alice.context, DtlsRole.SERVER, ["sha-256 " + certificate.fingerprint("sha-256")])
        said: set[int] = set()
        while server.state is DtlsState.HANDSHAKING:
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                server.receive(client.bio_read(65536))
            flight = drain(server)
            said |= handshake_messages(flight)
            for datagram in flight:
                client.bio_write(datagram)
        assert server.state is DtlsState.CONNECTED
        assert _CERTIFICATE in said
        assert _NEW_SESSION_TICKET not in said
        client.do_handshake()
        session = client.get_session()
