"""DTLS with one party: begun anew, and on a port of its own for RTCP.

Browser --- STUN, DTLS, SRTP ---> Relay --- RTP ---> phone at B
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from rtprelay.call.media import Media
from rtprelay.call.secure import DtlsLeg
from rtprelay.core.associations import Datagram, Keyed
from rtprelay.core.transport import Transport
from rtprelay.ice.candidate import RTCP, RTP
from rtprelay.security.dtls import DtlsAssociation, DtlsRole, DtlsState
from rtprelay.security.srtp import SrtpContext
from rtprelay.signalling.command import IceOption
from rtprelay.values import Endpoint
from rtprelay.wire import stun
from tests.unit.core_stage import B, Section, Stage, receiver_report, rtp, sdp
from tests.unit.webrtc_stage import BROWSER, FINGERPRINT, IDENTITY, PHONE, Browser, run

PLAIN: dict[str, Any] = {"ice": IceOption.REMOVE, "transport_protocol": "RTP/AVP"}


def server_call(stage: Stage, browser: Browser) -> Endpoint:
    """The browser is the client. Returns the relay's port facing it."""
    stage.offered(browser.sdp("active"), **PLAIN)
    (facing,) = stage.answered(sdp(B, 4002))
    browser.learn(facing, setup="active", controlling=True)
    run(stage, browser)
    assert browser.connected is not None
    return facing.local


class Party:
    """An association of the party's, on the path there is."""

    def __init__(self, role: DtlsRole, fingerprint: str) -> None:
        self.association = DtlsAssociation(IDENTITY.context(FINGERPRINT), role, (fingerprint,))

    def shake_hands(self, stage: Stage, local: Endpoint, source: Endpoint) -> None:
        """With what the relay has sent already."""
        waiting = list(stage.sent)
        for _ in range(10):
            for _, data, destination in waiting:
                if destination == source and 20 <= data[0] < 64:
                    self.association.receive(data)
            waiting = []
            while (flight := self.association.poll_transmit()) is not None:
                waiting += stage.receive(local, source, flight)


def told(stage: Stage) -> str:
    return f"sha-256 {stage.relay.registry.transports.identity.newest()}"


def test_a_party_that_lost_its_association_gets_another() -> None:
    stage, browser = Stage(), Browser()
    to_browser = server_call(stage, browser)
    before = stage.flow(to_browser).srtp
    anew = Party(DtlsRole.CLIENT, told(stage))
    anew.shake_hands(stage, to_browser, BROWSER)
    assert anew.association.state is DtlsState.CONNECTED
    assert anew.association.keys is not None
    assert stage.flow(to_browser).srtp not in (before, None)
    packet = SrtpContext(anew.association.keys.send).protect(rtp(1))
    ((_, data, destination),) = stage.receive(to_browser, BROWSER, packet)
    assert (data, destination) == (rtp(1), PHONE)


def test_keys_hold_until_the_newcomer_has_shown_its_certificate() -> None:
    stage, browser = Stage(), Browser()
    to_browser = server_call(stage, browser)
    before = stage.flow(to_browser).srtp
    hello = Party(DtlsRole.CLIENT, told(stage)).association.poll_transmit()
    assert hello is not None
    for _ in range(20):
        stage.receive(to_browser, BROWSER, hello)
    assert stage.flow(to_browser).srtp == before
    ((_, data, _),) = stage.receive(to_browser, BROWSER, browser.protect(rtp(1)))
    assert data == rtp(1)


def test_a_stranger_cannot_begin_anew() -> None:
    stage, browser = Stage(), Browser()
    to_browser = server_call(stage, browser)
    hello = Party(DtlsRole.CLIENT, told(stage)).association.poll_transmit()
    assert hello is not None
    stranger = Endpoint("198.51.100.66", 666)
    assert stage.receive(to_browser, stranger, hello) == []


def test_the_relay_begins_anew_where_the_party_closes_and_expects_to_be_called() -> None:
    stage = Stage()
    keys = (f"m=audio {BROWSER.port} UDP/TLS/RTP/SAVP 0", f"a=fingerprint:sha-256 {FINGERPRINT}", "a=setup:passive")
    (facing_phone,) = stage.offered(sdp(BROWSER.address, media=(*keys, "a=rtcp-mux")), **PLAIN)
    (facing,) = stage.answered(sdp(B, 4002))
    first, second = Party(DtlsRole.SERVER, told(stage)), Party(DtlsRole.SERVER, told(stage))
    first.shake_hands(stage, facing.local, BROWSER)
    before = stage.flow(facing.local).srtp
    assert before is not None
    first.association.close()
    goodbye = first.association.poll_transmit()
    assert goodbye is not None
    stage.receive(facing.local, BROWSER, goodbye)
    assert stage.outputs(facing_phone.local) == [(facing.local, BROWSER)]
    assert stage.flow(facing.local).srtp == before
    second.shake_hands(stage, facing.local, BROWSER)
    assert second.association.state is DtlsState.CONNECTED
    assert stage.flow(facing.local).srtp not in (before, None)


# --- RTCP on a port of its own ---

BROWSER_RTCP = BROWSER.with_port(BROWSER.port + 1)


class Unmuxed:
    """A party without rtcp-mux and without ICE: an association for each of its ports (RFC 5764 section 3)."""

    def __init__(self) -> None:
        self.transport = Transport(IDENTITY.context, random.Random(3))
        self.keys: dict[int, Keyed] = {}

    def sdp(self, setup: str) -> str:
        media = (
            f"m=audio {BROWSER.port} UDP/TLS/RTP/SAVP 0",
            f"a=setup:{setup}",
            f"a=fingerprint:sha-256 {FINGERPRINT}",
        )
        return sdp(BROWSER.address, media=media)

    def learn(self, facing: Section, setup: str) -> None:
        theirs = facing.attribute("fingerprint")
        assert theirs is not None
        media = Media(
            index=0,
            kind="audio",
            protocol=facing.protocol,
            local=BROWSER,
            local_rtcp=BROWSER_RTCP,
            remote=facing.local,
            remote_rtcp=facing.rtcp,
            dtls=DtlsLeg(setup=setup, fingerprints=(theirs,), certificate=FINGERPRINT),
        )
        self.transport.update(media, ())

    def run(self, stage: Stage) -> None:
        waiting = list(stage.sent)
        for _ in range(20):
            for local, data, destination in waiting:
                if destination in (BROWSER, BROWSER_RTCP):
                    self.transport.dtls(destination, local, data)
            waiting = []
            for outcome in self.transport.outcomes():
                if isinstance(outcome, Datagram):
                    waiting += stage.receive(outcome.remote, outcome.local, outcome.data)
                elif isinstance(outcome, Keyed):
                    self.keys[outcome.component] = outcome


def unmuxed_call(role: str) -> tuple[Stage, Unmuxed, Section, Section]:
    """`role` is the party's."""
    stage, party = Stage(), Unmuxed()
    (facing_phone,) = stage.offered(party.sdp(role), transport_protocol="RTP/AVP")
    (facing,) = stage.answered(sdp(B, 4002))
    sent = list(stage.sent)
    assert facing.attribute("rtcp-mux") is None
    party.learn(facing, role)
    stage.sent = sent
    party.run(stage)
    return stage, party, facing, facing_phone


@pytest.mark.parametrize("role", ["active", "passive"])
def test_rtcp_on_a_port_of_its_own_has_keys_of_its_own(role: str) -> None:
    stage, party, facing, facing_phone = unmuxed_call(role)
    assert party.keys.keys() == {RTP, RTCP}
    assert party.keys[RTP].keys != party.keys[RTCP].keys
    packet = SrtpContext(party.keys[RTP].keys.send).protect(rtp(1))
    ((_, data, destination),) = stage.receive(facing.local, BROWSER, packet)
    assert (data, destination) == (rtp(1), PHONE)
    report = SrtpContext(party.keys[RTCP].keys.send).protect_rtcp(receiver_report())
    ((_, data, destination),) = stage.receive(facing.rtcp, BROWSER_RTCP, report)
    assert (data, destination) == (receiver_report(), PHONE.with_port(4003))
    ((source, data, destination),) = stage.receive(facing_phone.rtcp, PHONE.with_port(4003), receiver_report(9))
    assert (source, destination) == (facing.rtcp, BROWSER_RTCP)
    assert SrtpContext(party.keys[RTCP].keys.receive).unprotect_rtcp(data) == receiver_report(9)


def test_rtcp_is_not_heard_under_the_keys_of_rtp() -> None:
    stage, party, facing, _ = unmuxed_call("active")
    report = SrtpContext(party.keys[RTP].keys.send).protect_rtcp(receiver_report())
    assert stage.receive(facing.rtcp, BROWSER_RTCP, report) == []


def test_no_rtcp_leaves_before_its_own_association_is_up() -> None:
    stage, party = Stage(), Unmuxed()
    (facing_phone,) = stage.offered(party.sdp("active"), transport_protocol="RTP/AVP")
    stage.answered(sdp(B, 4002))
    assert stage.receive(facing_phone.rtcp, PHONE.with_port(4003), receiver_report(9)) == []


def test_both_associations_outlive_a_restart() -> None:
    stage, party, facing, _ = unmuxed_call("active")
    before = stage.flows()
    stage.restart()
    assert stage.flows() == before
    report = SrtpContext(party.keys[RTCP].keys.send).protect_rtcp(receiver_report())
    ((_, data, _),) = stage.receive(facing.rtcp, BROWSER_RTCP, report)
    assert data == receiver_report()


# --- paths ---


def test_the_handshake_begins_on_a_valid_pair_before_one_is_selected() -> None:
    """The party answers our checks and nominates nothing: it controls."""
    stage, browser = Stage(), Browser()
    stage.offered(browser.sdp("passive"), **PLAIN)
    (facing,) = stage.answered(sdp(B, 4002))
    assert facing.attribute("setup") == "active"
    pwd = browser.credentials.pwd
    hellos = []
    for _ in range(20):
        stage.sent = []
        stage.wait(0.02)
        for local, data, destination in list(stage.sent):
            if destination == BROWSER and data[0] < 4:
                request = stun.parse(data)
                response = [(stun.Attribute.XOR_MAPPED_ADDRESS, stun.xor_address(local, request.transaction))]
                reply = stun.build(stun.Class.SUCCESS, request.transaction, response, pwd)
                hellos += [out for out in stage.receive(local, BROWSER, reply) if out[1][0] == 22]
    assert hellos
    assert stage.flow(facing.local).expected is None


# --- a new association, by signalling (RFC 8842 section 5) ---


def test_another_tls_id_of_the_party_asks_for_another_association() -> None:
    """Media goes on under the keys there are until the new ones have come."""
    stage, browser = Stage(), Browser()
    stage.offered(browser.sdp() + "a=tls-id:first-of-the-party\r\n", **PLAIN)
    (first,) = stage.answered(sdp(B, 4002))
    browser.learn(first, setup="passive", controlling=True)
    run(stage, browser)
    before = stage.flow(first.local).srtp
    stage.offered(browser.sdp() + "a=tls-id:second-of-the-party\r\n", to_tag="b", **PLAIN)
    (second,) = stage.answered(sdp(B, 4002))
    hellos = list(stage.sent)
    assert second.local == first.local
    assert second.attribute("tls-id") != first.attribute("tls-id")
    assert stage.flow(first.local).srtp == before
    ((_, data, _),) = stage.receive(first.local, BROWSER, browser.protect(rtp(1)))
    assert data == rtp(1)
    renewed = Browser(seed=12)
    renewed.credentials = browser.credentials
    renewed.learn(second, setup="passive", controlling=True)
    for local, hello, destination in hellos:
        renewed.transport.dtls(destination, local, hello)
    run(stage, renewed)
    assert renewed.connected is not None
    assert stage.flow(first.local).srtp not in (before, None)
    ((_, data, _),) = stage.receive(first.local, BROWSER, renewed.protect(rtp(2)))
    assert data == rtp(2)


def test_the_same_tls_id_goes_on_with_the_association() -> None:
    stage, browser = Stage(), Browser()
    offer = browser.sdp() + "a=tls-id:first-of-the-party\r\n"
    stage.offered(offer, **PLAIN)
    (first,) = stage.answered(sdp(B, 4002))
    browser.learn(first, setup="passive", controlling=True)
    run(stage, browser)
    stage.offered(offer, to_tag="b", **PLAIN)
    (second,) = stage.answered(sdp(B, 4002))
    assert second.attribute("tls-id") == first.attribute("tls-id")
    ((_, data, _),) = stage.receive(first.local, BROWSER, browser.protect(rtp(1)))
    assert data == rtp(1)


def test_reset_offers_everything_anew_to_whoever_the_call_was_transferred_to() -> None:
    stage, browser = Stage(), Browser()
    to_browser: dict[str, Any] = {"ice": IceOption.FORCE, "transport_protocol": "UDP/TLS/RTP/SAVPF"}
    mux = frozenset({"require"})
    (first,) = stage.offered(sdp(B, 4002), rtcp_mux=mux, **to_browser)
    stage.answered(browser.sdp("active"))
    browser.learn(first, setup="active", controlling=False)
    run(stage, browser)
    (same,) = stage.offered(sdp(B, 4002), to_tag="b", **to_browser)
    assert same.attribute("ice-ufrag") == first.attribute("ice-ufrag")
    assert same.attribute("tls-id") == first.attribute("tls-id")
    (anew,) = stage.offered(sdp(B, 4002), to_tag="b", reset=True, **to_browser)
    assert anew.local == first.local
    assert anew.attribute("ice-ufrag") != first.attribute("ice-ufrag")
    assert anew.attribute("tls-id") != first.attribute("tls-id")
    other = Browser(endpoint=BROWSER.with_port(50044), seed=13)
    stage.answered(other.sdp("active"))
    other.learn(anew, setup="active", controlling=False)
    run(stage, other)
    ((_, data, destination),) = stage.receive(anew.local, other.endpoint, other.protect(rtp(1)))
    assert (data, destination) == (rtp(1), PHONE)
